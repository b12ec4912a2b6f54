import GenPool
import Reference
import Synchronization
import Testing

/// Batches of a pool against single calls on a twin.
struct BatchTests {
  private static let start = VirtualAddress(0x10_0000)

  /// A pool of `pages` in one chunk.
  private func pool(pages: UInt64 = 16, fit: Fit = .first) throws -> Pool {
    let pool = Pool(granule: .page, fit: fit)
    try pool.add(start: Self.start, size: ByteCount(4096 * pages), owner: Owner(3))
    return pool
  }

  private func page(_ number: UInt64, size: ByteCount = 4096) -> Allocation {
    Allocation(start: Self.start + 4096 * number, size: size, owner: Owner(3))
  }

  /// The single calls that a batch stands for: all allocations, or the error of the one that failed
  /// and what was allocated until then.
  private func singles(
    _ count: Int, of size: ByteCount, fit: Fit?, in pool: Pool
  ) -> (allocations: [Allocation], error: PoolError?) {
    var allocations: [Allocation] = []
    for _ in 0..<count {
      do throws(PoolError) {
        allocations.append(try pool.allocate(size, fit: fit))
      } catch {
        return (allocations, error)
      }
    }
    return (allocations, nil)
  }

  private func batch(
    _ count: Int, of size: ByteCount, fit: Fit?, in pool: Pool
  ) -> (allocations: [Allocation], error: PoolError?) {
    do throws(PoolError) {
      return (try pool.allocate(count: count, of: size, fit: fit), nil)
    } catch {
      return ([], error)
    }
  }

  @Test func `a batch is as many allocations, and is freed as one`() throws {
    let pool = try pool()
    let allocations = try pool.allocate(count: 3, of: 5000)
    #expect(allocations == [0, 2, 4].map { page($0, size: 5000) })
    #expect(pool.available == ByteCount(4096 * 10))
    #expect(pool.statistics.allocations == 3)
    try pool.free(allocations[1])
    try pool.free(contentsOf: [allocations[2], allocations[0]])
    #expect(pool.available == pool.size)
    #expect(pool.statistics.frees == 3)
    #expect(pool.statistics.peak == ByteCount(4096 * 6))
    pool.checkInvariants()
  }

  @Test func `any sequence of allocations can be freed`() throws {
    let pool = try pool()
    let allocations = try pool.allocate(count: 4, of: 4096)
    try pool.free(contentsOf: Set(allocations.prefix(2)))
    try pool.free(contentsOf: allocations.lazy.dropFirst(2).reversed())
    #expect(pool.available == pool.size)
  }

  @Test func `a batch of frees is refused what a single free is, and counts as many`() throws {
    let pool = try pool(pages: 1)
    _ = try pool.allocate(4096)
    let past = Allocation(start: Self.start + 100, size: 4096, owner: nil)
    #expect(throws: PoolError.pastChunkEnd(past.start, 4096)) { try pool.free(past) }
    #expect(throws: PoolError.pastChunkEnd(past.start, 4096)) { try pool.free(contentsOf: [past]) }
    let nothing = Allocation(start: Self.start, size: 0, owner: nil)
    try pool.free(nothing)
    try pool.free(contentsOf: [nothing, nothing])
    #expect(pool.statistics.frees == 0)
    #expect(pool.available == .zero)
  }

  @Test func `a batch of none does nothing, whatever else is asked for`() throws {
    let pool = try pool()
    #expect(try pool.allocate(count: 0, of: 4096) == [])
    #expect(try pool.allocate(count: 0, of: 0, fit: .firstAligned(0)) == [])
    try pool.free(contentsOf: [])
    #expect(pool.statistics.allocations == 0 && pool.statistics.frees == 0)
  }

  @Test func `a batch of less than none is the caller's mistake`() async {
    await #expect(processExitsWith: .failure) {
      let pool = Pool(granule: .page)
      _ = try pool.allocate(count: -1, of: 4096)
    }
  }

  @Test func `more than any pool holds fails as the first call without a place, and takes nothing`()
    throws
  {
    let pool = try pool()
    for count in [17, 1 << 40, Int.max] {
      #expect(throws: PoolError.full(requested: 4096, available: 0)) {
        try pool.allocate(count: count, of: 4096)
      }
      #expect(throws: PoolError.full(requested: .kibibytes(20), available: 4096)) {
        try pool.allocate(count: count, of: .kibibytes(20))
      }
      #expect(throws: PoolError.full(requested: ByteCount(UInt64.max), available: pool.size)) {
        try pool.allocate(count: count, of: ByteCount(UInt64.max))
      }
      #expect(pool.available == pool.size)
    }
    #expect(pool.statistics.allocations == 0)
    #expect(pool.statistics.peak == 0)
    pool.checkInvariants()
  }

  @Test func `a batch of 0 bytes each, or aligned to 0 bytes, is refused`() throws {
    let pool = try pool()
    #expect(throws: PoolError.emptyRequest) { try pool.allocate(count: 2, of: 0) }
    #expect(throws: PoolError.alignmentIsZero) {
      try pool.allocate(count: 2, of: 1, fit: .firstAligned(0))
    }
  }

  @Test func `a range that cannot be freed leaves the whole batch allocated`() throws {
    let pool = try pool()
    let allocations = try pool.allocate(count: 8, of: 4096)
    try pool.tag(allocations[0], as: Tag(5))
    try pool.free(allocations[6])
    let holdings = pool.holdings
    func expect(_ error: PoolError, _ batch: [Allocation]) {
      #expect(throws: error, "\(batch)") { try pool.free(contentsOf: batch) }
      #expect(pool.holdings == holdings, "\(batch)")
      pool.checkInvariants()
    }
    expect(.notAllocated(page(6).start), allocations)
    expect(.notAllocated(page(6).start), [allocations[0], allocations[6]])
    // Twice: whole, in part, next to each other and far apart.
    expect(.notAllocated(page(1).start), [allocations[1], allocations[1]])
    expect(.notAllocated(page(0).start), [allocations[0], allocations[3], allocations[0]])
    expect(
      .notAllocated(page(2).start), [page(1, size: 8192), allocations[0], page(2, size: 8192)])
    expect(.notAllocated(page(1).start), [allocations[2], allocations[1], page(1, size: 8192)])
    // Elsewhere.
    let outside = Allocation(start: VirtualAddress(0x1000), size: 4096, owner: nil)
    expect(.noSuchAddress(outside.start), [allocations[0], outside, allocations[6]])
    expect(
      .pastChunkEnd(page(0).start, .kibibytes(65)),
      [allocations[5], page(0, size: .kibibytes(65))])
    expect(
      .pastChunkEnd(page(0).start, ByteCount(UInt64.max)),
      [allocations[5], page(0, size: ByteCount(UInt64.max))])
    // The address of a range of 0 bytes is looked at, too.
    expect(
      .noSuchAddress(outside.start),
      [allocations[0], Allocation(start: outside.start, size: 0, owner: nil)])
    #expect(pool.statistics.frees == 1)
    try pool.free(contentsOf: [
      page(0, size: 0), page(0, size: 1), page(1, size: 4096 * 5), page(7),
    ])
    #expect(pool.available == pool.size)
    #expect(pool.holdings == [])
  }

  @Test func `a freed batch forgets its tags`() throws {
    let pool = try pool()
    let allocations = try pool.allocate(count: 4, of: 4096)
    for allocation in allocations { try pool.tag(allocation, as: Tag(9)) }
    try pool.free(contentsOf: [allocations[0], allocations[2], allocations[3]])
    _ = try pool.allocate(count: 2, of: 4096)
    #expect(pool.holdings.map(\.tag) == [nil, Tag(9), nil])
    // In two chunks as well.
    try pool.add(start: VirtualAddress(0x100_0000), size: 4096)
    let far = try pool.allocate(4096)
    try pool.tag(far, as: Tag(4))
    try pool.free(contentsOf: [far, allocations[1]])
    _ = try pool.allocate(count: 2, of: 4096)
    #expect(pool.holdings.allSatisfy { $0.tag == nil })
  }

  @Test func `a batch passes over a drained chunk, and frees what is in it`() throws {
    let pool = try pool(pages: 4)
    let old = try pool.allocate(count: 2, of: 4096)
    let other = VirtualAddress(0x100_0000)
    try pool.add(start: other, size: .kibibytes(16))
    let mixed = try pool.allocate(count: 5, of: 4096)
    #expect(mixed.map(\.start) == (0..<4).map { other + 4096 * UInt64($0) } + [page(2).start])
    try pool.drain(chunkAt: other)
    #expect(throws: PoolError.full(requested: 4096, available: 0)) {
      try pool.allocate(count: 2, of: 4096)
    }
    #expect(try pool.allocate(count: 1, of: 4096) == [page(3)])
    try pool.free(contentsOf: old + mixed)
    try pool.free(page(3))
    try pool.remove(chunkAt: other)
    #expect(throws: PoolError.gone(other)) { try pool.free(contentsOf: mixed) }
    #expect(pool.available == pool.size)
  }

  @Test func `a destroyed pool refuses batches`() throws {
    let pool = try pool()
    try pool.destroy()
    #expect(throws: PoolError.destroyed) { try pool.allocate(count: 2, of: 4096) }
    #expect(throws: PoolError.destroyed) { try pool.free(contentsOf: [page(0), page(1)]) }
    #expect(throws: PoolError.destroyed) {
      try pool.free(contentsOf: [Allocation(start: VirtualAddress(1), size: 1, owner: nil)])
    }
  }

  @Test
  func `an own algorithm is asked for each place of a batch, and its mistakes undo all of it`()
    throws
  {
    let pool = try pool(pages: 8)
    // Every second page from above, then anything outside.
    let fit = Fit.custom { map, request in
      for page in stride(from: 7, to: 0, by: -2) where !map.isAllocated(GranuleIndex(page)) {
        return GranuleIndex(page)
      }
      return GranuleIndex(7)
    }
    #expect(try pool.allocate(count: 4, of: 4096, fit: fit) == [7, 5, 3, 1].map { page($0) })
    try pool.free(contentsOf: [7, 5, 3, 1].map { page($0) })
    #expect(throws: PoolError.fitNotFree(GranuleIndex(7))) {
      try pool.allocate(count: 5, of: 4096, fit: fit)
    }
    #expect(throws: PoolError.fitOutOfRange(GranuleIndex(7))) {
      try pool.allocate(count: 2, of: 8192, fit: .custom { _, _ in GranuleIndex(7) })
    }
    #expect(pool.available == pool.size)
    pool.checkInvariants()
  }

  @Test func `an own algorithm that finds nothing once may find a place for the next of a batch`()
    throws
  {
    // As single calls do: the older chunk serves in between.
    for isBatch in [false, true] {
      let pool = try pool(pages: 4)
      try pool.add(start: VirtualAddress(0x100_0000), size: .kibibytes(16))
      let calls = Atomic(0)
      let fit = Fit.custom { map, request in
        let call = calls.add(1, ordering: .relaxed).oldValue
        guard call % 3 > 0 else { return nil }
        return (0..<4).map { GranuleIndex($0) }.first { !map.isAllocated($0) }
      }
      let got =
        isBatch
        ? batch(4, of: 4096, fit: fit, in: pool) : singles(4, of: 4096, fit: fit, in: pool)
      #expect(got.error == nil)
      #expect(got.allocations.map(\.owner) == [Owner(3), nil, Owner(3), nil])
    }
  }

  @Test func `a batch at a fixed place inside a granule is warned of, and finds nothing`() throws {
    let warnings = Mutex<[PoolWarning]>([])
    let pool = Pool(granule: .page) { warning in warnings.withLock { $0.append(warning) } }
    try pool.add(start: Self.start, size: .kibibytes(8))
    #expect(throws: PoolError.notFree(requested: 1, offset: 1)) {
      try pool.allocate(count: 2, of: 1, fit: .fixed(offset: 1))
    }
    #expect(warnings.withLock { $0 } == [.offsetInsideGranule(offset: 1, chunk: Self.start)])
  }

  @Test func `a batch in another space is the same`() throws {
    let allocator = RangeAllocator<PhysicalSpace>(granule: .page)
    try allocator.add(start: PhysicalAddress(0x1000), size: .kibibytes(16))
    let allocations = try allocator.allocate(count: 4, of: 4096)
    #expect(allocations.map(\.start.rawValue) == [0x1000, 0x2000, 0x3000, 0x4000])
    try allocator.free(contentsOf: allocations)
    #expect(allocator.available == allocator.size)
  }

  /// Long lives of twins, of which one has batches and the other single calls: chunks with tails,
  /// of all sizes, drained and not, and all fits.
  @Test(arguments: 1...16 as ClosedRange<UInt64>)
  func `a batch takes and frees what single calls would`(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let order = UInt64.random(in: 0...12, using: &random)
    let pools = (0..<2).map { _ in Pool(granule: GranuleSize(order: Int(order))) }
    var next: UInt64 = 0x1_0000
    var starts: [VirtualAddress] = []
    func addChunk() throws {
      let granules = UInt64.random(in: 0...300, using: &random)
      let size = granules << order + UInt64.random(in: 0..<(1 << order), using: &random)
      let start = VirtualAddress(next + UInt64.random(in: 0...3, using: &random) << (order / 2))
      for pool in pools {
        try pool.add(start: start, size: ByteCount(size), owner: Owner(UInt(starts.count)))
      }
      starts.append(start)
      next = start.rawValue + size + UInt64.random(in: 0...1, using: &random) << order
    }
    try addChunk()
    var held: [Allocation] = []
    for step in 0..<250 {
      let comment: Comment = "seed \(seed), step \(step)"
      if step % 60 == 30 { try addChunk() }
      if step % 20 == 7 {
        let start = starts[Int.random(in: 0..<starts.count, using: &random)]
        let isDrained = Bool.random(using: &random)
        for pool in pools {
          isDrained ? try pool.drain(chunkAt: start) : try pool.undrain(chunkAt: start)
        }
      }
      let most = Bool.random(using: &random) ? 4 : 90 as UInt64
      let size = ByteCount(UInt64.random(in: 1...(most << order), using: &random))
      let count = Int.random(in: 0...24, using: &random)
      let fit: Fit? =
        switch Int.random(in: 0..<10, using: &random) {
        case 0: .firstAligned(ByteCount(1 << UInt64.random(in: 0...(order + 4), using: &random)))
        case 1: .firstAligned(ByteCount(UInt64.random(in: 1...(8 << order), using: &random)))
        case 2: .orderAligned
        case 3: .best
        case 4: .fixed(offset: ByteCount(UInt64.random(in: 0...120, using: &random) << order))
        case 5:
          .custom { map, request in
            let limit = map.count.rawValue - request.count.rawValue
            guard limit >= 0 else { return nil }
            let place = GranuleIndex(limit / 2)
            return request.count.rawValue == 1 && !map.isAllocated(place) ? place : nil
          }
        default: nil
        }
      let expected = singles(count, of: size, fit: fit, in: pools[0])
      let got = batch(count, of: size, fit: fit, in: pools[1])
      #expect(got.error == expected.error, comment)
      if expected.error == nil {
        #expect(got.allocations == expected.allocations, comment)
        held += got.allocations
      } else {
        for allocation in expected.allocations { try pools[0].free(allocation) }
      }
      #expect(pools[0].freeRuns() == pools[1].freeRuns(), comment)
      #expect(pools[0].available == pools[1].available, comment)
      // Some of what is held, in any order; now and then with one that is not.
      held.shuffle(using: &random)
      var freed = Array(held.suffix(Int.random(in: 0...min(40, held.count), using: &random)))
      if Bool.random(using: &random) { freed.sort { $0.start < $1.start } }
      if step % 9 == 0, let again = freed.randomElement(using: &random) {
        #expect(throws: PoolError.self, comment) {
          try pools[1].free(contentsOf: freed + [again])
        }
        #expect(pools[0].freeRuns() == pools[1].freeRuns(), comment)
      }
      try pools[1].free(contentsOf: freed)
      for allocation in freed { try pools[0].free(allocation) }
      held.removeLast(freed.count)
      #expect(pools[0].freeRuns() == pools[1].freeRuns(), comment)
      #expect(pools[0].available == pools[1].available, comment)
      if step % 10 == 0 { pools[1].checkInvariants() }
    }
  }
}
