/// Random numbers that are the same for the same seed: SplitMix64 (Steele, Lea, Flood 2014).
///
/// Tests/Support/splitmix.py computes the same bytes, so that a host and its guest need to share
/// the seed only.
package struct SplitMix64: RandomNumberGenerator {
  @usableFromInline var state: UInt64

  @inlinable package init(seed: UInt64) {
    state = seed
  }

  @inlinable package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed &>> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed &>> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed &>> 31)
  }

  /// A number below `bound`, which is not zero.
  @inlinable package mutating func next(below bound: UInt64) -> UInt64 { next() % bound }

  /// A number below `bound`, which is positive.
  @inlinable package mutating func next(below bound: Int) -> Int {
    Int(next(below: UInt64(bound)))
  }

  /// `count` bytes, a multiple of 8: each number little-endian.
  package mutating func bytes(_ count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    for _ in 0..<(count / 8) {
      let number = next()
      for shift in stride(from: 0 as UInt64, to: 64, by: 8) {
        bytes.append(UInt8(truncatingIfNeeded: number >> shift))
      }
    }
    return bytes
  }
}
