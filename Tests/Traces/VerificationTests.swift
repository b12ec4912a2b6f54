import Testing

@testable import genpool_bench

/// A slice of `make verify`.
struct VerificationTests {
  @Test(arguments: [11, 12] as [UInt64])
  func `random lives of pools are those of the naive model`(seed: UInt64) {
    var verification = Verification(seed: seed)
    verification.run(60_000)
    #expect(verification.failure == nil)
    #expect(verification.operations == 60_000)
  }
}
