import GenPool
import Synchronization
import Testing

struct PoolTests {
  private static let start = VirtualAddress(0x10_0000)

  private func pool(
    granule: Int = 12, size: ByteCount = .kibibytes(64), fit: Fit = .first, owner: Owner? = nil,
    physical: PhysicalAddress? = nil, bus: BusAddress? = nil,
    warning: (@Sendable (PoolWarning) -> Void)? = nil
  ) throws -> Pool {
    let pool = Pool(granule: GranuleSize(order: granule), fit: fit, warning: warning)
    try pool.add(
      start: Self.start, size: size, physical: physical, bus: bus, owner: owner)
    return pool
  }

  /// Runs `body`, which must throw `error`, and expects the pool to be as before.
  private func expect(
    _ error: PoolError, from pool: Pool, sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () throws -> Void
  ) {
    let before = (pool.chunks, pool.freeRuns())
    #expect(throws: error, sourceLocation: sourceLocation, performing: body)
    #expect(pool.chunks == before.0, sourceLocation: sourceLocation)
    #expect(pool.freeRuns() == before.1, sourceLocation: sourceLocation)
    pool.checkInvariants()
  }

  // MARK: Chunks

  @Test func `the chunk added last is allocated from first`() throws {
    let pool = try pool(owner: Owner(1))
    try pool.add(start: VirtualAddress(0x20_0000), size: .kibibytes(8), owner: Owner(2))
    #expect(try pool.allocate(4096).owner == Owner(2))
    #expect(try pool.allocate(.kibibytes(8)).owner == Owner(1))
    #expect(pool.chunks.map(\.owner) == [Owner(2), Owner(1)])
  }

  @Test func `a chunk at address 0 is refused`() throws {
    let pool = try pool()
    expect(.chunkAtZero, from: pool) { try pool.add(start: VirtualAddress(0), size: 4096) }
  }

  @Test func `a chunk that overlaps another is refused, a neighbour is not`() throws {
    let pool = try pool(size: .kibibytes(64))
    let end = Self.start + .kibibytes(64)
    expect(.chunkOverlaps(Self.start), from: pool) { try pool.add(start: end - 1, size: 4096) }
    expect(.chunkOverlaps(Self.start), from: pool) {
      try pool.add(start: Self.start - 4096, size: .mebibytes(1))
    }
    try pool.add(start: end, size: 4096)
    try pool.add(start: Self.start - 4096, size: 4096)
    #expect(pool.chunks.count == 3)
  }

  @Test func `a chunk of more granules than a bitmap can have takes too much memory`() throws {
    let pool = Pool(granule: GranuleSize(order: 0))
    expect(.noMemory, from: pool) {
      try pool.add(start: Self.start, size: ByteCount(UInt64(1) << 63))
    }
    #expect(pool.chunks.isEmpty)
  }

  @Test func `a chunk that passes the end of a space is refused`() throws {
    let pool = try pool()
    let top = VirtualAddress(UInt64.max - 4095)
    expect(.chunkWraps(top, 8192), from: pool) { try pool.add(start: top, size: 8192) }
    expect(.chunkWraps(VirtualAddress(4096), 8192), from: pool) {
      try pool.add(
        start: VirtualAddress(4096), size: 8192, physical: PhysicalAddress(UInt64.max - 4095))
    }
    expect(.chunkWraps(VirtualAddress(4096), 8192), from: pool) {
      try pool.add(start: VirtualAddress(4096), size: 8192, bus: BusAddress(UInt64.max - 4095))
    }
    try pool.add(start: top, size: 4096)
    #expect(pool.contains(top, size: 4096))
    #expect(pool.contains(top + 4095, size: 1))
  }

  @Test func `an absurd chunk is refused for want of memory`() throws {
    let pool = Pool(granule: GranuleSize(order: 0))
    expect(.noMemory, from: pool) {
      try pool.add(start: VirtualAddress(1), size: ByteCount(UInt64.max >> 1))
    }
  }

  @Test func `chunks smaller than a granule are accepted and never handed out`() throws {
    let pool = Pool(granule: GranuleSize(order: 6))
    try pool.add(start: VirtualAddress(0x1000), size: 0)
    try pool.add(start: VirtualAddress(0x2000), size: 10)
    #expect(pool.size == 10)
    #expect(pool.available == 10)
    expect(.fragmented(requested: 1, available: 10, largest: 0), from: pool) {
      _ = try pool.allocate(1)
    }
    #expect(!pool.contains(VirtualAddress(0x1000), size: 0))
    #expect(pool.contains(VirtualAddress(0x2000), size: 10))
    try pool.destroy()
  }

  @Test func `a tail counts as available but is never handed out`() throws {
    let pool = try pool(size: ByteCount(4096 as UInt64) + 100)
    let allocation = try pool.allocate(4096)
    #expect(pool.available == 100)
    expect(.fragmented(requested: 100, available: 100, largest: 0), from: pool) {
      _ = try pool.allocate(100)
    }
    expect(.notAllocated(Self.start + 4096), from: pool) {
      try pool.free(Self.start + 4096, size: 100)
    }
    try pool.free(allocation)
  }

  // MARK: Allocating

  @Test func `the largest granule and all of the address space overflow nothing`() throws {
    let pool = Pool(granule: GranuleSize(order: 63))
    let all = ByteCount(UInt64.max)
    let granule = GranuleSize(order: 63).byteCount
    try pool.add(start: VirtualAddress(1), size: all, bus: BusAddress(0))
    let fits: [Fit?] = [
      nil, .first, .firstAligned(granule), .orderAligned, .best, .fixed(offset: 0),
    ]
    for fit in fits {
      // Two granules, whose bytes are 0 modulo 2^64.
      #expect(throws: PoolError.self) { try pool.allocate(all, fit: fit) }
    }
    expect(.unconstrainable(requested: all, .size(longest: granule)), from: pool) {
      _ = try pool.allocate(all, meeting: Constraints(boundary: granule))
    }
    for size in [1, granule] {
      let got = try pool.allocate(size)
      #expect(got.start == VirtualAddress(1))
      expect(.fragmented(requested: 1, available: all - granule, largest: .zero), from: pool) {
        _ = try pool.allocate(1)
      }
      expect(.full(requested: granule, available: all - granule), from: pool) {
        _ = try pool.allocate(granule)
      }
      expect(.notAllocated(VirtualAddress(1) + granule), from: pool) {
        try pool.free(VirtualAddress(1), size: all)
      }
      expect(.pastChunkEnd(VirtualAddress(2), all), from: pool) {
        try pool.free(VirtualAddress(2), size: all)
      }
      try pool.free(got)
    }
    #expect(pool.available == all)
    pool.checkInvariants()
  }

  @Test func `sizes are rounded up to granules`() throws {
    let pool = try pool()
    _ = try pool.allocate(1)
    #expect(pool.available == .kibibytes(60))
    #expect(try pool.allocate(4097).start == Self.start + 4096)
    #expect(pool.available == .kibibytes(52))
  }

  @Test func `nothing cannot be allocated`() throws {
    let pool = try pool()
    expect(.emptyRequest, from: pool) { _ = try pool.allocate(0) }
  }

  @Test func `a request that no chunk has free says full`() throws {
    let pool = try pool()
    expect(.full(requested: .kibibytes(65), available: .kibibytes(64)), from: pool) {
      _ = try pool.allocate(.kibibytes(65))
    }
    expect(.full(requested: ByteCount(UInt64.max), available: .kibibytes(64)), from: pool) {
      _ = try pool.allocate(ByteCount(UInt64.max))
    }
    #expect(PoolError.full(requested: 1, available: 0).errorNumber == 12)
  }

  @Test func `enough in pieces says fragmented`() throws {
    let pool = try pool()
    let all = try pool.allocate(.kibibytes(64))
    try pool.free(all.start, size: 4096)
    try pool.free(all.start + 8192, size: 4096)
    expect(.fragmented(requested: 8192, available: 8192, largest: 4096), from: pool) {
      _ = try pool.allocate(8192)
    }
    #expect(PoolError.fragmented(requested: 1, available: 1, largest: 0).errorNumber == 28)
  }

  @Test func `an alignment of 0 is refused`() throws {
    let pool = try pool()
    expect(.alignmentIsZero, from: pool) { _ = try pool.allocate(1, fit: .firstAligned(0)) }
    expect(.alignmentIsZero, from: pool) { try pool.setFit(.firstAligned(0)) }
    expect(.alignmentIsZero, from: pool) { _ = try pool.allocateDMA(1, alignment: 0) }
  }

  @Test func `the pool's fit is used until a call says otherwise`() throws {
    let pool = try pool()
    _ = try pool.allocate(4096)
    try pool.setFit(.firstAligned(.kibibytes(16)))
    #expect(try pool.allocate(4096).start == Self.start + .kibibytes(16))
    #expect(try pool.allocate(4096, fit: .first).start == Self.start + 4096)
    try pool.add(start: VirtualAddress(0x20_1000), size: .kibibytes(64))
    #expect(try pool.allocate(4096).start == VirtualAddress(0x20_4000))
  }

  @Test func `a fixed offset is tried in each chunk`() throws {
    let pool = try pool(owner: Owner(1))
    try pool.add(start: VirtualAddress(0x20_0000), size: .kibibytes(64), owner: Owner(2))
    let fit = Fit.fixed(offset: 8192)
    #expect(try pool.allocate(4096, fit: fit).start == VirtualAddress(0x20_2000))
    #expect(try pool.allocate(4096, fit: fit).start == Self.start + 8192)
    expect(.notFree(requested: 4096, offset: 8192), from: pool) {
      _ = try pool.allocate(4096, fit: fit)
    }
    #expect(PoolError.notFree(requested: 1, offset: 0).errorNumber == 28)
    // The pool's own fit says it as well.
    try pool.setFit(.fixed(offset: .kibibytes(64)))
    expect(.notFree(requested: 4096, offset: .kibibytes(64)), from: pool) {
      _ = try pool.allocate(4096)
    }
  }

  @Test func `an offset inside a granule warns once for each chunk tried`() throws {
    let warnings = Mutex<[PoolWarning]>([])
    let pool = try pool { warning in warnings.withLock { $0.append(warning) } }
    try pool.add(start: VirtualAddress(0x20_0000), size: .kibibytes(64))
    try pool.add(start: VirtualAddress(0x30_0000), size: 4096)
    #expect(throws: PoolError.self) { try pool.allocate(8192, fit: .fixed(offset: 100)) }
    #expect(
      warnings.withLock { $0 } == [
        .offsetInsideGranule(offset: 100, chunk: VirtualAddress(0x20_0000)),
        .offsetInsideGranule(offset: 100, chunk: Self.start),
      ])
  }

  // MARK: Own algorithms

  @Test func `an own algorithm sees the bitmap and chooses`() throws {
    let pool = try pool()
    _ = try pool.allocate(4096)
    let fromTheTop = Fit.custom { bitmap, request in
      let (first, word) = (bitmap.isAllocated(GranuleIndex(0)), bitmap.word(0))
      #expect(first)
      #expect(word & 1 == 1)
      return GranuleIndex(bitmap.count.rawValue - request.count.rawValue)
    }
    #expect(try pool.allocate(8192, fit: fromTheTop).start == Self.start + .kibibytes(56))
    expect(.fitNotFree(GranuleIndex(14)), from: pool) {
      _ = try pool.allocate(8192, fit: fromTheTop)
    }
  }

  @Test func `an own algorithm that finds nothing leads to the next chunk`() throws {
    let pool = try pool(owner: Owner(1))
    try pool.add(start: VirtualAddress(0x20_0000), size: .kibibytes(64), owner: Owner(2))
    let onlyOld = Fit.custom { _, request in
      request.chunkStart == Self.start - VirtualAddress(0) ? .zero : nil
    }
    #expect(try pool.allocate(4096, fit: onlyOld).owner == Owner(1))
    let past = Fit.custom { bitmap, _ in GranuleIndex(bitmap.count.rawValue) }
    #expect(throws: PoolError.self) { try pool.allocate(4096, fit: past) }
  }

  @Test func `a run past the chunk is not believed`() throws {
    let pool = try pool()
    expect(.fitOutOfRange(GranuleIndex(15)), from: pool) {
      _ = try pool.allocate(8192, fit: .custom { _, _ in GranuleIndex(15) })
    }
    expect(.fitOutOfRange(GranuleIndex(-1)), from: pool) {
      _ = try pool.allocate(8192, fit: .custom { _, _ in GranuleIndex(-1) })
    }
  }

  @Test func `an algorithm that lost is asked again from its answer on`() throws {
    let pool = try pool()
    _ = try pool.allocate(.kibibytes(12))
    let upward = Fit.custom { _, request in
      request.start == .zero ? GranuleIndex(1) : request.start + GranuleCount(1)
    }
    #expect(try pool.allocate(4096, fit: upward).start == Self.start + .kibibytes(12))
  }

  // MARK: DMA

  @Test func `a DMA allocation knows all of its addresses`() throws {
    let pool = try pool(physical: PhysicalAddress(0x8000_0000), bus: BusAddress(0x1000_0000))
    _ = try pool.allocate(4096)
    let allocation = try pool.allocateDMA(4096)
    #expect(allocation.physical == PhysicalAddress(0x8000_1000))
    #expect(allocation.bus == BusAddress(0x1000_1000))
    #expect(pool.physicalAddress(of: allocation.start + 7) == PhysicalAddress(0x8000_1007))
    #expect(pool.busAddress(of: allocation.start + 7) == BusAddress(0x1000_1007))
    #expect(pool.physicalAddress(of: VirtualAddress(1)) == nil)
    try pool.free(allocation)
  }

  @Test func `memory without a physical address has none`() throws {
    let pool = try pool()
    let allocation = try pool.allocateDMA(4096)
    #expect(allocation.physical == nil)
    #expect(allocation.bus == nil)
    #expect(pool.physicalAddress(of: allocation.start) == nil)
  }

  @Test func `a bridge offset that breaks the alignment is found out`() throws {
    let pool = try pool(bus: BusAddress(0x4000_1000))
    #expect(throws: PoolError.busMisaligned(bus: BusAddress(0x4000_1000), alignment: 8192)) {
      try pool.allocateDMA(4096, alignment: 8192)
    }
    #expect(pool.available == pool.size)
    #expect(try pool.allocateDMA(4096, alignment: 4096).bus == BusAddress(0x4000_1000))
  }

  @Test func `exactly the bytes asked for are zeroed`() throws {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 8192, alignment: 4096)
    defer { unsafe memory.deallocate() }
    unsafe memory.initializeMemory(as: UInt8.self, repeating: 0xa5)
    let address = VirtualAddress(UInt64(UInt(bitPattern: memory.baseAddress)))
    let pool = Pool(granule: .page)
    try unsafe pool.add(mapped: address, size: 8192, backing: nil)
    let allocation = try pool.allocateDMA(101, zeroed: true)
    #expect(allocation.start == address)
    #expect(unsafe memory[..<101].allSatisfy { $0 == 0 })
    #expect(unsafe memory[101...].allSatisfy { $0 == 0xa5 })
  }

  @Test func `what is not mapped cannot be zeroed`() throws {
    let pool = try pool()
    expect(.notMapped(Self.start), from: pool) { _ = try pool.allocateDMA(1, zeroed: true) }
  }

  // MARK: Freeing

  @Test func `a freed range can be allocated again`() throws {
    let pool = try pool(owner: Owner(7))
    let allocation = try pool.allocate(.kibibytes(64))
    #expect(try pool.free(allocation) == Owner(7))
    #expect(try pool.allocate(.kibibytes(64)) == allocation)
  }

  @Test func `allocations are freed in parts, and across neighbours`() throws {
    let pool = try pool()
    let first = try pool.allocate(.kibibytes(8))
    _ = try pool.allocate(.kibibytes(8))
    try pool.free(first.start + 4096, size: .kibibytes(8))
    #expect(pool.freeRuns().map(\.size) == [.kibibytes(8), .kibibytes(48)])
    try pool.free(first.start, size: 1)
    try pool.free(first.start + .kibibytes(12) + 4095, size: 1)
    #expect(pool.available == pool.size)
  }

  @Test func `freeing nothing inside a chunk does nothing`() throws {
    let pool = try pool(owner: Owner(3))
    #expect(try pool.free(Self.start + 5, size: 0) == Owner(3))
    #expect(pool.available == pool.size)
  }

  @Test func `misuse of free is found out and changes nothing`() throws {
    let pool = try pool()
    let allocation = try pool.allocate(8192)
    let end = Self.start + .kibibytes(64)
    expect(.noSuchAddress(end), from: pool) { try pool.free(end, size: 1) }
    expect(.noSuchAddress(end), from: pool) { try pool.free(end, size: 0) }
    expect(.pastChunkEnd(end - 4096, 4097), from: pool) { try pool.free(end - 4096, size: 4097) }
    expect(.pastChunkEnd(Self.start, ByteCount(UInt64.max)), from: pool) {
      try pool.free(Self.start, size: ByteCount(UInt64.max))
    }
    expect(.notAllocated(Self.start + 8192), from: pool) {
      try pool.free(Self.start + 4096, size: 8192)
    }
    try pool.free(allocation)
    expect(.notAllocated(Self.start), from: pool) { try pool.free(allocation) }
  }

  // MARK: Queries

  @Test func `a range lies in the pool only when one chunk holds it all`() throws {
    let pool = try pool()
    let end = Self.start + .kibibytes(64)
    try pool.add(start: end, size: .kibibytes(64))
    #expect(pool.contains(Self.start, size: .kibibytes(64)))
    #expect(!pool.contains(end - 4096, size: 8192))
    #expect(pool.contains(end - 1, size: 0))
    #expect(!pool.contains(Self.start - 1, size: 0))
    #expect(!pool.contains(Self.start, size: ByteCount(UInt64.max)))
  }

  @Test func `the longest run and the runs are told`() throws {
    let pool = try pool()
    _ = try pool.allocate(4096, fit: .fixed(offset: .kibibytes(20)))
    #expect(pool.largestFreeRun == .kibibytes(40))
    #expect(
      pool.freeRuns() == [
        FreeRun(start: Self.start, size: .kibibytes(20)),
        FreeRun(start: Self.start + .kibibytes(24), size: .kibibytes(40)),
      ])
    #expect(pool.freeRuns(limit: 1).count == 1)
  }

  // MARK: The end

  @Test func `a pool with something allocated does not end`() throws {
    let pool = try pool()
    let allocation = try pool.allocate(1)
    expect(.outstanding(4096), from: pool) { try pool.destroy() }
    try pool.free(allocation)
    try pool.destroy()
    #expect(throws: PoolError.destroyed) { try pool.allocate(1) }
    #expect(throws: PoolError.destroyed) { try pool.allocate(.gibibytes(1)) }
    #expect(throws: PoolError.destroyed) { try pool.free(VirtualAddress(1), size: 1) }
    #expect(throws: PoolError.destroyed) { try pool.free(Self.start, size: .gibibytes(1)) }
    #expect(throws: PoolError.destroyed) { try pool.destroy() }
    #expect(throws: PoolError.destroyed) { try pool.add(start: VirtualAddress(1), size: 1) }
  }

  @Test func `the backing lives until the pool is destroyed, or goes`() throws {
    final class Backing {
      let ended: Ended
      init(_ ended: Ended) { self.ended = ended }
      deinit { ended.count.add(1, ordering: .relaxed) }
    }
    final class Ended: Sendable { let count = Atomic<Int>(0) }
    let ended = Ended()
    func add(to pool: Pool) throws {
      let backing = Backing(ended)
      try unsafe pool.add(mapped: VirtualAddress(0x1000), size: 4096, backing: backing)
    }
    let pool = Pool(granule: .page)
    try add(to: pool)
    #expect(ended.count.load(ordering: .relaxed) == 0)
    try pool.destroy()
    #expect(ended.count.load(ordering: .relaxed) == 1)
    var other: Pool? = Pool(granule: .page)
    try other.map { try add(to: $0) }
    other = nil
    #expect(ended.count.load(ordering: .relaxed) == 2)
  }

  @Test func `a refusal after the search leaves what is known of other chunks true`() throws {
    let pool = Pool(granule: .page)
    for place in 0..<2 as Range<UInt64> {
      try pool.add(start: Self.start + ByteCount.mebibytes(4) * place, size: .mebibytes(2))
      _ = try pool.allocate(.kibibytes(12))
    }
    #expect(throws: PoolError.self) {
      try pool.allocateDMA(.kibibytes(4), alignment: .kibibytes(32), zeroed: true)
    }
    pool.checkInvariants()
  }
}
