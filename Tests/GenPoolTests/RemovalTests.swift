import GenPool
import Testing

/// Chunks that leave a living pool.
struct RemovalTests {
  private static let low = VirtualAddress(0x10_0000)
  private static let high = VirtualAddress(0x20_0000)

  /// Two chunks of 64 KiB; the one at `high` is searched first.
  private func pool() throws -> Pool {
    let pool = Pool(granule: .page)
    try pool.add(start: Self.low, size: .kibibytes(64), physical: PhysicalAddress(0x8000_0000))
    try pool.add(start: Self.high, size: .kibibytes(64), physical: PhysicalAddress(0x9000_0000))
    return pool
  }

  private func expect(_ expected: PoolError, _ body: () throws -> Void) {
    #expect(throws: expected) { try body() }
  }

  @Test func `a drained chunk hands out nothing, whatever the fit`() throws {
    let pool = try pool()
    try pool.drain(chunkAt: Self.high)
    try pool.drain(chunkAt: Self.high)
    #expect(pool.available == .kibibytes(64))
    #expect(pool.size == .kibibytes(128))
    #expect(pool.chunks.map(\.isDraining) == [true, false])
    let anywhere = Fit.custom { _, _ in GranuleIndex(4) }
    for fit in [.first, .firstAligned(8192), .orderAligned, .best, .fixed(offset: 8192), anywhere] {
      let got = try pool.allocate(4096, fit: fit)
      #expect(got.start < Self.high)
      try pool.free(got)
    }
    _ = try pool.allocate(.kibibytes(64))
    expect(.full(requested: 1, available: 0)) { _ = try pool.allocate(1) }
    #expect(pool.largestFreeRun == 0)
    try pool.undrain(chunkAt: Self.high)
    #expect(try pool.allocate(1).start == Self.high)
  }

  @Test func `what a drained chunk had handed out can be freed, and then it can go`() throws {
    let pool = try pool()
    let held = try pool.allocate(.kibibytes(12))
    try pool.drain(chunkAt: Self.high)
    expect(.outstanding(.kibibytes(12))) { try pool.remove(chunkAt: Self.high) }
    #expect(pool.contains(held.start, size: 1))
    try pool.free(held)
    #expect(try pool.remove(chunkAt: Self.high) == 0)
    #expect(pool.size == .kibibytes(64))
    #expect(pool.chunks.map(\.start) == [Self.low])
    #expect(!pool.contains(Self.high, size: 1))
    #expect(pool.physicalAddress(of: Self.high) == nil)
    #expect(pool.virtualAddress(of: PhysicalAddress(0x9000_0000)) == nil)
    expect(.gone(Self.high)) { try pool.free(Self.high, size: 1) }
    expect(.noSuchAddress(Self.high)) { try pool.remove(chunkAt: Self.high) }
    pool.checkInvariants()
    try pool.destroy()
  }

  @Test func `a chunk can be removed without having been drained`() throws {
    let pool = try pool()
    try pool.remove(chunkAt: Self.high)
    #expect(try pool.allocate(1).start == Self.low)
  }

  @Test func `removed by force, allocations are lost and their frees say so`() throws {
    let pool = try pool()
    let lost = try pool.allocate(.kibibytes(8))
    #expect(try pool.remove(chunkAt: Self.high, losingAllocations: true) == .kibibytes(8))
    expect(.gone(lost.start)) { try pool.free(lost) }
    #expect(PoolError.gone(lost.start).errorNumber == 19)
    #expect(pool.statistics.allocations == 1)
    #expect(pool.statistics.size == .kibibytes(64))
    try pool.destroy()
  }

  @Test func `a pool that has ended says so, of what was lost before too`() throws {
    let pool = try pool()
    let lost = try pool.allocate(.kibibytes(8))
    try pool.remove(chunkAt: Self.high, losingAllocations: true)
    try pool.destroy()
    expect(.destroyed) { try pool.free(lost) }
  }

  @Test func `another chunk may take the place of one that was removed`() throws {
    let pool = try pool()
    try pool.remove(chunkAt: Self.high)
    try pool.add(start: Self.high, size: .kibibytes(32))
    #expect(try pool.allocate(.kibibytes(32)).start == Self.high)
    try pool.free(Self.high, size: .kibibytes(32))
  }

  @Test func `a chunk is named by its first address`() throws {
    let pool = try pool()
    for body in [pool.drain, pool.undrain] {
      expect(.noSuchAddress(Self.high + 1)) { try body(Self.high + 1) }
    }
    expect(.noSuchAddress(Self.high + 1)) { try pool.remove(chunkAt: Self.high + 1) }
    try pool.destroy()
    expect(.destroyed) { try pool.drain(chunkAt: Self.high) }
    expect(.destroyed) { try pool.remove(chunkAt: Self.high) }
  }

  @Test func `removal lets go of the memory, after the locks`() throws {
    final class Backing {
      private let ended: () -> Void
      init(_ ended: @escaping () -> Void) { self.ended = ended }
      deinit { ended() }
    }
    let pool = try pool()
    var available: ByteCount?
    try unsafe pool.add(
      mapped: VirtualAddress(0x30_0000), size: .kibibytes(4),
      backing: Backing {
        // Would wait for ever under a lock.
        available = try? pool.allocate(4096).size
      })
    try pool.remove(chunkAt: VirtualAddress(0x30_0000))
    #expect(available == 4096)
  }
}
