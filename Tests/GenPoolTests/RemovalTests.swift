import GenPool
import Reference
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

  @Test func `chunks that come and go for days leave nothing behind but one that stays`() throws {
    let pool = Pool(granule: .page)
    try pool.add(start: Self.low, size: .kibibytes(64))
    let held = try pool.allocate(1)
    var freed = 0
    for round in 0..<5_000 {
      let start = Self.high + ByteCount.mebibytes(UInt64(round % 7))
      try pool.add(start: start, size: .kibibytes(64), owner: Owner(UInt(round)))
      let got = try pool.allocate(.kibibytes(8))
      #expect(got.start == start && got.owner == Owner(UInt(round)))
      try pool.free(got)
      freed += 1
      try pool.remove(chunkAt: start)
      if round % 1_000 == 0 { pool.checkInvariants() }
    }
    #expect(pool.storageCount == 2)
    #expect(pool.chunks.map(\.start) == [Self.low])
    #expect(pool.statistics.frees == freed)
    #expect(pool.statistics.allocations == freed + 1)
    try pool.free(held)
    for round in 0..<7 {
      let start = Self.high + ByteCount.mebibytes(UInt64(round))
      expect(.gone(start)) { try pool.free(start, size: 1) }
    }
    pool.checkInvariants()
  }

  @Test func `removed ranges are remembered, and forgotten where a chunk is added`() throws {
    let pool = Pool(granule: .page)
    let range = ByteCount.kibibytes(64)
    for round in 0..<3 {
      let start = Self.high + range * UInt64(round)
      try pool.add(start: start, size: range)
      _ = try pool.allocate(1)
      try pool.remove(chunkAt: start, losingAllocations: true)
    }
    // In the middle of what is one range by now.
    try pool.add(start: Self.high + .kibibytes(80), size: .kibibytes(8))
    expect(.notAllocated(Self.high + .kibibytes(80))) {
      try pool.free(Self.high + .kibibytes(80), size: 1)
    }
    for offset in [0, 79, 88, 191] as [UInt64] {
      let address = Self.high + .kibibytes(offset)
      expect(.gone(address)) { try pool.free(address, size: 1) }
    }
    let behind = Self.high + .kibibytes(192)
    expect(.noSuchAddress(behind)) { try pool.free(behind, size: 1) }
  }

  @Test func `of a thousand removed ranges apart from each other the lowest are forgotten`() throws
  {
    let pool = Pool(granule: .page)
    for round in 0..<1_100 as Range<UInt64> {
      let start = Self.high + ByteCount.kibibytes(8) * round
      try pool.add(start: start, size: .kibibytes(4))
      try pool.remove(chunkAt: start)
    }
    expect(.noSuchAddress(Self.high)) { try pool.free(Self.high, size: 1) }
    let last = Self.high + ByteCount.kibibytes(8) * 1_099
    expect(.gone(last)) { try pool.free(last, size: 1) }
  }

  @Test(arguments: [1, 2] as [UInt64])
  func `among many chunks that come and go an address leads to its own`(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let pool = Pool(granule: .page)
    // By the number of the place; an owner of its own for each chunk there ever was.
    var chunks: [(place: UInt64, owner: UInt, held: Allocation?)] = []
    func start(_ place: UInt64) -> VirtualAddress { Self.low + ByteCount.mebibytes(place) }
    for round in 0..<3_000 {
      let place = UInt64(random.next(below: 300))
      let index = chunks.firstIndex { $0.place == place }
      switch random.next(below: 4) {
      case 0, 1:
        guard index == nil else { break }
        try pool.add(
          start: start(place), size: .kibibytes(256),
          physical: PhysicalAddress(1 << 40) + ByteCount.mebibytes(place),
          owner: Owner(UInt(round)))
        chunks.append((place, UInt(round), nil))
      case 2:
        guard let index else { break }
        try pool.remove(chunkAt: start(place), losingAllocations: true)
        chunks.remove(at: index)
      default:
        guard let index = chunks.indices.last else { break }
        // The newest chunk that has room serves.
        if let held = chunks[index].held {
          #expect(try pool.free(held) == Owner(chunks[index].owner))
          chunks[index].held = nil
        } else {
          let made = try pool.allocate(.kibibytes(256))
          let owner = chunks.last { $0.held == nil }?.owner
          #expect(made.owner == owner.map { Owner($0) })
          if let index = chunks.lastIndex(where: { $0.held == nil }) { chunks[index].held = made }
        }
      }
      let asked =
        start(UInt64(random.next(below: 300))) + ByteCount(UInt64(random.next(below: 1 << 19)))
      let there = chunks.contains {
        asked >= start($0.place) && asked - start($0.place) < .kibibytes(256)
      }
      #expect(pool.contains(asked, size: 1) == there)
      #expect(
        pool.physicalAddress(of: asked)
          == (there ? PhysicalAddress(1 << 40) + (asked - Self.low) : nil))
      #expect(pool.chunks.map { $0.owner?.rawValue } == chunks.reversed().map(\.owner))
    }
    pool.checkInvariants()
  }
}
