"""Results, one line each, counted."""


class Report:
    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def check(self, sentence: str, holds: bool, detail: object = "") -> bool:
        """Prints and counts one result; `detail` says what was there instead."""
        if holds:
            self.passed += 1
            print(f"  ok    {sentence}", flush=True)
        else:
            self.failed += 1
            print(f"  FAIL  {sentence}" + (f": {detail}" if detail else ""), flush=True)
        return holds

    def equal(self, sentence: str, got: object, expected: object) -> bool:
        return self.check(sentence, got == expected, f"got {got}, expected {expected}")

    def same_bytes(self, sentence: str, got: bytes, expected: bytes, start: int = 0) -> bool:
        """`start` is where the first byte lies, so that a difference can be found again."""
        if got == expected:
            return self.check(sentence, True)
        if len(got) != len(expected):
            return self.check(sentence, False, f"{len(got)} bytes, expected {len(expected)}")
        at = next(i for i, (a, b) in enumerate(zip(got, expected)) if a != b)
        return self.check(
            sentence, False,
            f"differs at {start + at:#x}: {got[at:at + 8].hex()}, expected {expected[at:at + 8].hex()}")
