"""Steele, Lea and Flood's SplitMix64, as the guest's dma-proof computes it: poison that both sides know."""

MASK = (1 << 64) - 1


def splitmix(seed: int, count: int) -> bytes:
    """`count` bytes, a multiple of 8."""
    state, found = seed, bytearray()
    for _ in range(count // 8):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        mixed = state
        mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & MASK
        found += (mixed ^ mixed >> 31).to_bytes(8, "little")
    return bytes(found)
