import GenPool
import Reference
import Testing

/// What a pool says of itself, and why it refuses.
struct StatisticsTests {
  private static let start = VirtualAddress(0x10_0000)

  /// Sixteen granules of 4 KiB.
  private func pool(fit: Fit = .first) throws -> Pool {
    let pool = Pool(granule: .page, fit: fit)
    try pool.add(start: Self.start, size: .kibibytes(64))
    return pool
  }

  private func failure(_ body: () throws -> Void) -> PoolError? {
    do {
      try body()
      return nil
    } catch {
      return error as? PoolError
    }
  }

  @Test func `what happened is counted`() throws {
    let pool = try pool()
    let first = try pool.allocate(.kibibytes(40))
    let second = try pool.allocate(.kibibytes(8))
    try pool.free(first.start + .kibibytes(4), size: .kibibytes(8))
    try pool.free(second)
    _ = try? pool.allocate(.kibibytes(28))
    _ = try? pool.allocate(.kibibytes(65))
    _ = try? pool.allocate(.kibibytes(65))
    let statistics = pool.statistics
    #expect(statistics.size == .kibibytes(64))
    #expect(statistics.available == .kibibytes(32))
    #expect(statistics.peak == .kibibytes(48))
    #expect(statistics.allocations == 2)
    #expect(statistics.frees == 2)
    #expect(statistics.failedFragmented == 1)
    #expect(statistics.failedFull == 2)
    #expect(statistics.largestFreeRun == .kibibytes(24))
    #expect(statistics.freeRuns == 2)
    #expect(statistics.fragmentation == 0.25)
  }

  @Test func `chunks add up`() throws {
    let pool = try pool()
    try pool.add(start: VirtualAddress(0x20_0000), size: .kibibytes(32))
    _ = try pool.allocate(.kibibytes(32))
    _ = try pool.allocate(.kibibytes(4))
    #expect(pool.statistics.peak == .kibibytes(36))
    #expect(pool.statistics.freeRuns == 1)
    #expect(pool.statistics.largestFreeRun == .kibibytes(60))
    #expect(pool.statistics.fragmentation == 0)
  }

  @Test func `a full pool is not fragmented`() throws {
    let pool = try pool()
    #expect(pool.statistics.fragmentation == 0)
    _ = try pool.allocate(.kibibytes(64))
    #expect(pool.statistics.fragmentation == 0)
    #expect(pool.statistics.freeRuns == 0)
  }

  /// Free: 20 KiB from 4 KiB on, and 8 KiB at the end.
  @Test func `a full pool with a tail is not fragmented either`() throws {
    let pool = Pool(granule: .page)
    try pool.add(start: Self.start, size: .kibibytes(66))
    _ = try pool.allocate(.kibibytes(60))
    #expect(pool.statistics.fragmentation == 0)
    _ = try pool.allocate(.kibibytes(4))
    #expect(pool.statistics.available == .kibibytes(2))
    #expect(pool.statistics.allocatable == .zero)
    #expect(pool.statistics.fragmentation == 0)
  }

  private func holed(fit: Fit = .first) throws -> Pool {
    let pool = try pool(fit: fit)
    let all = try pool.allocate(.kibibytes(64))
    try pool.free(all.start + .kibibytes(4), size: .kibibytes(20))
    try pool.free(all.start + .kibibytes(56), size: .kibibytes(8))
    return pool
  }

  @Test func `a failure names the longest run that is aligned as asked`() throws {
    let pool = try holed()
    func largest(_ size: ByteCount, _ fit: Fit?) -> ByteCount? {
      let error = failure { _ = try pool.allocate(size, fit: fit) }
      #expect(pool.available == .kibibytes(28))
      switch error {
      case .fragmented(size, .kibibytes(28), let largest): return largest
      case .noAlignedRun(size, _, let largest): return largest
      default: return nil
      }
    }
    #expect(largest(.kibibytes(24), nil) == .kibibytes(20))
    #expect(largest(.kibibytes(24), .best) == .kibibytes(20))
    // From 8 KiB on, where the address is a multiple.
    #expect(largest(.kibibytes(20), .firstAligned(.kibibytes(8))) == .kibibytes(16))
    // A request of 24 KiB starts at a multiple of 32 KiB: there is none.
    #expect(largest(.kibibytes(24), .orderAligned) == 0)
    #expect(largest(.kibibytes(12), .firstAligned(.kibibytes(16))) == .kibibytes(8))
  }

  @Test func `the pool's own fit says it as well`() throws {
    let pool = try holed(fit: .firstAligned(.kibibytes(8)))
    let expected = PoolError.noAlignedRun(
      requested: .kibibytes(20), alignment: .kibibytes(8), largest: .kibibytes(16))
    #expect(failure { _ = try pool.allocate(.kibibytes(20)) } == expected)
  }

  @Test func `a failure says what was asked for`() throws {
    let pool = try holed()
    func text(_ size: ByteCount, _ fit: Fit?) -> String? {
      failure { _ = try pool.allocate(size, fit: fit) }?.description
    }
    let plain = "allocate 24 KiB: 28 KiB free, but no free run fits (the longest is 20 KiB)"
    #expect(text(.kibibytes(24), .best) == plain)
    // Up to the granule an alignment is no constraint.
    #expect(text(.kibibytes(24), .firstAligned(4096)) == plain)
    #expect(
      text(.kibibytes(8), .firstAligned(.kibibytes(32)))
        == "allocate 8 KiB: enough is free, but no 8 KiB at a multiple of 32 KiB: the longest piece from such "
        + "a place is 0 B")
    #expect(
      text(.kibibytes(12), .orderAligned)
        == "allocate 12 KiB: enough is free, but no 12 KiB at a multiple of 16 KiB: the longest piece from "
        + "such a place is 8 KiB")
    for (offset, name) in [(0, "0x0"), (1 << 20, "0x100000"), (100, "0x64")] as [(UInt64, String)] {
      #expect(
        text(4096, .fixed(offset: ByteCount(offset)))
          == "allocate 4 KiB: no chunk has 4 KiB free at offset \(name) (or it is outside all chunks, or "
          + "inside a granule)")
    }
  }

  @Test func `what a failure names can be allocated`() throws {
    var random = SplitMix64(seed: 3)
    let pool = Pool(granule: .page)
    try pool.add(start: VirtualAddress(0x7000), size: .kibibytes(4 * 1000))
    var held: [Allocation] = []
    while let one = try? pool.allocate(.kibibytes(UInt64.random(in: 1...80, using: &random))) {
      held.append(one)
    }
    for _ in 0..<500 {
      held.swapAt(Int.random(in: 0..<held.count, using: &random), held.count - 1)
      if let last = held.popLast() { try pool.free(last) }
      let fit = [Fit.first, .best, .firstAligned(.kibibytes(16)), .firstAligned(.kibibytes(256))]
        .randomElement(using: &random)
      let error = failure { held.append(try pool.allocate(.kibibytes(90), fit: fit)) }
      let largest: ByteCount =
        switch error {
        case .fragmented(_, _, let largest), .noAlignedRun(_, _, let largest): largest
        default: .zero
        }
      if largest > .zero {
        #expect(largest < .kibibytes(90))
        let got = try pool.allocate(largest, fit: fit)
        #expect(failure { _ = try pool.allocate(largest + 4096, fit: fit) } != nil)
        try pool.free(got)
      }
      pool.checkInvariants()
    }
  }
}
