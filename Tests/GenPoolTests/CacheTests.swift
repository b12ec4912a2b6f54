import GenPool
import Glibc
import Reference
import Testing

/// Caches of small allocations: a thread's own, at any place.
struct CacheTests {
  private static let start = VirtualAddress(0x10_0000)

  private func pool(_ size: ByteCount = .mebibytes(16)) throws -> Pool {
    let pool = Pool(granule: .page)
    try pool.add(
      start: Self.start, size: size, physical: PhysicalAddress(0x8000_0000), owner: Owner(7))
    return pool
  }

  private func expect(_ expected: PoolError, _ body: () throws -> Void) {
    #expect(throws: expected) { try body() }
  }

  @Test func `a freed object comes again, and the pool sees neither`() throws {
    let pool = try pool()
    let cache = try pool.cache()
    let first = try cache.allocate(5000)
    #expect(first.size == 5000)
    #expect(first.owner == Owner(7))
    #expect(pool.contains(first.start, size: 5000))
    let available = pool.available
    #expect(try cache.free(first) == Owner(7))
    #expect(try cache.allocate(8192).start == first.start)
    #expect(pool.available == available)
    cache.checkInvariants()
    pool.checkInvariants()
  }

  @Test func `objects of a slab are all different, and each comes back`() throws {
    for granules in [1, 2, 3, 5, 7, 31, 63, 64] as [UInt64] {
      let pool = try pool(.mebibytes(128))
      let cache = try pool.cache(limit: .mebibytes(64))
      let size = ByteCount(4096 * granules)
      var starts: Set<VirtualAddress> = []
      for _ in 0..<130 { starts.insert(try cache.allocate(size).start) }
      let sorted = starts.sorted()
      #expect(sorted.count == 130)
      for (one, next) in zip(sorted, sorted.dropFirst()) { #expect(next - one >= size) }
      for start in starts { try cache.free(start, size: size) }
      cache.checkInvariants()
      #expect(pool.statistics.cached == cache.held)
      #expect(pool.statistics.cached >= size * 130)
      try cache.flush()
      #expect(pool.available == pool.size)
    }
  }

  @Test func `the type says so, and its bounds can be asked`() throws {
    let pool = try pool()
    let cache: Pool.AnyPlaceCache = try pool.cache()
    #expect(cache.largest == .kibibytes(256))
    #expect(cache.limit == .mebibytes(1))
    #expect(try pool.cache(largest: .kibibytes(10)).largest == .kibibytes(12))
    #expect(try pool.cache(largest: 100).largest == 4096)
    #expect(try pool.cache(largest: ByteCount(.max as UInt64)).largest == .kibibytes(256))
    // An object and its like: less is no cache.
    #expect(try pool.cache(limit: .kibibytes(16)).largest == .kibibytes(8))
    #expect(try pool.cache(limit: 4096).largest == .zero)
    #expect(try pool.cache(largest: .gibibytes(1)).largest == .kibibytes(256))
  }

  @Test func `what is too large for the cache is the pool's, and so is nothing at all`() throws {
    let pool = try pool()
    let cache = try pool.cache(largest: .kibibytes(8))
    let large = try cache.allocate(8193)
    #expect(large.start == Self.start)
    #expect(cache.held == .zero)
    try cache.free(large)
    expect(.emptyRequest) { _ = try cache.allocate(0) }
    let small = try cache.allocate(1)
    // Nothing is freed, as by the pool.
    #expect(try cache.free(small.start, size: 0) == Owner(7))
    try cache.free(small)
    expect(.pastChunkEnd(small.start, ByteCount(.max as UInt64))) {
      try cache.free(small.start, size: ByteCount(.max as UInt64))
    }
    #expect(pool.statistics.allocations == 2)
    #expect(pool.statistics.frees == 2)
  }

  @Test func `a second free is refused by the cache, by the pool and by other caches`() throws {
    let pool = try pool()
    let (cache, other) = (try pool.cache(), try pool.cache())
    let held = try (0..<5).map { _ in try cache.allocate(.kibibytes(8)) }
    // One goes into the slot, the others into their slab.
    for one in held {
      try cache.free(one)
      for _ in 0..<2 {
        expect(.notAllocated(one.start)) { try cache.free(one) }
        expect(.notAllocated(one.start)) { try other.free(one) }
        expect(.notAllocated(one.start)) { try pool.free(one) }
        expect(.notAllocated(one.start)) { try pool.free(contentsOf: [one]) }
      }
      expect(.notAllocated(one.start + 4096)) { try pool.free(one.start + 4096, size: 1) }
      expect(.notAllocated(one.start)) { try pool.tag(one, as: Tag(3)) }
    }
    #expect(pool.statistics.frees == 5)
    let again = try (0..<5).map { _ in try cache.allocate(.kibibytes(8)) }
    #expect(Set(again.map(\.start)).count == 5)
    cache.checkInvariants()
    pool.checkInvariants()
  }

  @Test func `the pool frees what a cache handed out, and the cache does not hand it out`() throws {
    let pool = try pool()
    let (cache, other) = (try pool.cache(), try pool.cache())
    let one = try cache.allocate(4096)
    let two = try cache.allocate(4096)
    let three = try cache.allocate(.kibibytes(16))
    #expect(try pool.free(one) == Owner(7))
    try other.free(two)
    for gone in [one, two] {
      expect(.notAllocated(gone.start)) { try cache.free(gone) }
      expect(.notAllocated(gone.start)) { try pool.free(gone) }
    }
    // A part: the rest can be freed by either, and the object is none any more.
    try pool.free(three.start + 4096, size: 4096)
    expect(.notAllocated(three.start + 4096)) { try cache.free(three) }
    try cache.free(three.start, size: 4096)
    try cache.free(three.start + 8192, size: 8192)
    #expect(pool.statistics.frees == 5)
    // First fit finds what was freed; the caches hand out other places.
    #expect(try pool.allocate(4096).start == one.start)
    for _ in 0..<200 {
      let next = try cache.allocate(4096)
      #expect(next.start != one.start)
    }
    cache.checkInvariants()
    pool.checkInvariants()
  }

  @Test func `a batch of what a cache handed out and what it holds frees nothing`() throws {
    let pool = try pool()
    let cache = try pool.cache()
    let all = try (0..<5).map { _ in try cache.allocate(4096) }
    try cache.free(all[4])
    let available = pool.available
    expect(.notAllocated(all[4].start)) { try pool.free(contentsOf: all) }
    #expect(pool.available == available)
    // Each of the others is still allocated, and freed once.
    try pool.free(contentsOf: all[..<4])
    for one in all {
      expect(.notAllocated(one.start)) { try cache.free(one) }
      expect(.notAllocated(one.start)) { try pool.free(contentsOf: [one]) }
    }
    cache.checkInvariants()
    pool.checkInvariants()
  }

  @Test func `memory that went to the pool and came to a cache by another way is held once`() throws
  {
    let pool = try pool(.kibibytes(256))
    let cache = try pool.cache(limit: .kibibytes(64))
    var held = try (0..<64).map { _ in try cache.allocate(4096) }
    for one in held { try pool.free(one) }
    #expect(pool.available == .kibibytes(256))
    // The new slabs lie where the old ones are still known.
    held = try (0..<64).map { _ in try cache.allocate(4096) }
    #expect(Set(held.map(\.start)).count == 64)
    for one in held {
      try cache.free(one)
      expect(.notAllocated(one.start)) { try cache.free(one) }
    }
    cache.checkInvariants()
    pool.checkInvariants()
    #expect(pool.statistics.frees == 128)
  }

  @Test func `no more is held than the limit, whatever is freed`() throws {
    let pool = try pool(.mebibytes(256))
    let cache = try pool.cache(limit: .kibibytes(128))
    var random = SplitMix64(seed: 5)
    var held: [Allocation] = []
    for _ in 0..<2000 {
      held.append(try cache.allocate(ByteCount(1 + random.next(below: 60 << 10))))
      #expect(cache.held <= cache.limit)
    }
    held.shuffle(using: &random)
    for one in held {
      try cache.free(one)
      #expect(cache.held <= cache.limit)
    }
    cache.checkInvariants()
    #expect(pool.available + cache.held == pool.size)
    #expect(pool.statistics.cached == cache.held)
    #expect(pool.statistics.allocations == 2000)
    #expect(pool.statistics.frees == 2000)
    try cache.flush()
    #expect(cache.held == .zero)
    #expect(pool.available == pool.size)
    try pool.destroy()
  }

  @Test func `what others free leaves no slab behind`() throws {
    let pool = try pool()
    let cache = try pool.cache()
    func slabs() throws -> Int { cache.slabCount }
    // As a thread that makes what another one consumes.
    for _ in 0..<500 {
      let some = try (0..<64).map { _ in try cache.allocate(4096) }
      for one in some { try pool.free(one) }
    }
    #expect(try slabs() < 8)
    pool.checkInvariants()
  }

  @Test func `a flush gives back all that is held, and what is out is the pool's`() throws {
    let pool = try pool()
    let cache = try pool.cache()
    let out = try (0..<100).map { _ in try cache.allocate(4096) }
    for one in out.prefix(50) { try cache.free(one) }
    try cache.flush()
    #expect(cache.held == .zero)
    #expect(pool.available == pool.size - 50 * 4096)
    for one in out.suffix(50) { try cache.free(one) }
    #expect(cache.held == .zero)
    #expect(pool.available == pool.size)
    #expect(pool.statistics.allocations == 100)
    #expect(pool.statistics.frees == 100)
    _ = try cache.allocate(4096)
    cache.checkInvariants()
  }

  @Test func `a cache that ends gives back what it holds, and its calls still count`() throws {
    let pool = try pool()
    var out: [Allocation] = []
    do {
      let cache = try pool.cache()
      for _ in 0..<10 { out.append(try cache.allocate(4096)) }
      try cache.free(out.removeLast())
    }
    #expect(pool.available == pool.size - 9 * 4096)
    #expect(pool.statistics.cached == .zero)
    #expect(pool.statistics.allocations == 10)
    for one in out { try pool.free(one) }
    #expect(pool.statistics.frees == 10)
    try pool.destroy()
  }

  @Test func `a drained chunk's memory is handed out by no cache, and can leave`() throws {
    let pool = try pool()
    let high = VirtualAddress(0x1000_0000)
    try pool.add(start: high, size: .mebibytes(1))
    let cache = try pool.cache()
    let (one, two, three) = (
      try cache.allocate(4096), try cache.allocate(4096), try cache.allocate(4096)
    )
    #expect(one.start >= high)
    try cache.free(one)
    try cache.free(two)
    try pool.drain(chunkAt: high)
    expect(.outstanding(.kibibytes(256))) { try pool.remove(chunkAt: high) }
    #expect(try cache.allocate(4096).start < high)
    // What was held there went back with that call.
    expect(.outstanding(4096)) { try pool.remove(chunkAt: high) }
    try cache.free(three)
    #expect(try pool.remove(chunkAt: high) == .zero)
    expect(.gone(three.start)) { try cache.free(three) }
    cache.checkInvariants()
    pool.checkInvariants()
  }

  @Test func `a free after a drain is the pool's as well`() throws {
    let pool = try pool()
    let cache = try pool.cache()
    let one = try cache.allocate(4096)
    try pool.drain(chunkAt: Self.start)
    try cache.free(one)
    #expect(cache.held == .zero)
    #expect(throws: PoolError.self) { try cache.allocate(4096) }
    try pool.undrain(chunkAt: Self.start)
    #expect(try cache.allocate(4096).start == Self.start)
    #expect(pool.statistics.frees == 1)
  }

  @Test func `what a removed chunk had is neither handed out nor given back`() throws {
    let pool = try pool()
    let high = VirtualAddress(0x1000_0000)
    try pool.add(start: high, size: .mebibytes(1))
    let cache = try pool.cache()
    let (one, two) = (try cache.allocate(4096), try cache.allocate(4096))
    try cache.free(one)
    #expect(try pool.remove(chunkAt: high, losingAllocations: true) == .kibibytes(256))
    // Another chunk in its place, and in its storage.
    try pool.add(start: high, size: .mebibytes(1))
    expect(.notAllocated(two.start)) { try cache.free(two) }
    #expect(cache.held == .zero)
    #expect(pool.available == pool.size)
    let next = try cache.allocate(4096)
    #expect(next.start == high)
    try cache.free(next)
    cache.checkInvariants()
    pool.checkInvariants()
    try cache.flush()
    #expect(pool.available == pool.size)
  }

  @Test func `a pool is not destroyed while a cache holds of it, and is after a flush`() throws {
    let pool = try pool()
    let cache = try pool.cache()
    let one = try cache.allocate(4096)
    try cache.free(one)
    expect(.outstanding(.kibibytes(256))) { try pool.destroy() }
    #expect(try cache.allocate(4096).start == one.start)
    try cache.free(one)
    try cache.flush()
    try pool.destroy()
    expect(.destroyed) { _ = try cache.allocate(4096) }
    expect(.destroyed) { try cache.free(one) }
    expect(.destroyed) { _ = try pool.cache() }
    try cache.flush()
  }

  @Test func `a full pool is handed out to the last granule, and only then refuses`() throws {
    let pool = try pool(.kibibytes(400))
    let cache = try pool.cache()
    // Held in another size: given back when there is nothing else.
    let other = try cache.allocate(.kibibytes(12))
    try cache.free(other)
    var starts: Set<VirtualAddress> = []
    for _ in 0..<100 { #expect(starts.insert(try cache.allocate(4096).start).inserted) }
    #expect(pool.available == .zero)
    expect(.full(requested: 4096, available: .zero)) { _ = try cache.allocate(4096) }
    #expect(pool.statistics.failedFull == 1)
    #expect(pool.statistics.allocations == 101)
    for start in starts { try cache.free(start, size: 4096) }
    try cache.flush()
    #expect(pool.available == pool.size)
  }

  @Test func `a tag makes an object the pool's, which forgets it with the free`() throws {
    let pool = try pool()
    let cache = try pool.cache()
    let one = try cache.allocate(4096)
    try pool.tag(one, as: Tag(9))
    #expect(pool.holdings.first { $0.tag == Tag(9) }?.start == one.start)
    try cache.free(one)
    #expect(!pool.holdings.contains { $0.tag != nil })
    #expect(pool.statistics.frees == 1)
    cache.checkInvariants()
    pool.checkInvariants()
  }

  @Test func `granules of any size, and chunks that start inside one`() throws {
    for order in [0, 1, 6, 20, 50, 51, 63] {
      let pool = Pool(granule: GranuleSize(order: order))
      let granule = pool.granule.byteCount
      guard order < 50 else {
        try pool.add(start: VirtualAddress(1), size: ByteCount(.max as UInt64))
        let cache = try pool.cache()
        // No slab would lie in 64 bits.
        if let one = try? cache.allocate(granule) { try cache.free(one) }
        continue
      }
      try pool.add(start: VirtualAddress(0x1001), size: granule * 1000 + 1)
      let cache = try pool.cache()
      for count in [1, 3, 64] as [UInt64] {
        let some = try (0..<5).map { _ in try cache.allocate(granule * count) }
        #expect(Set(some.map(\.start)).count == 5)
        for one in some { try cache.free(one) }
        for one in some {
          expect(.notAllocated(one.start)) { try cache.free(one) }
        }
      }
      cache.checkInvariants()
      pool.checkInvariants()
    }
  }

  @Test func `caches of other spaces work as well`() throws {
    let space = RangeAllocator<PhysicalSpace>(granule: .page)
    try space.add(start: PhysicalAddress(0x10_0000), size: .mebibytes(1))
    let cache = try space.cache()
    let one = try cache.allocate(4096)
    try cache.free(one)
    #expect(try cache.allocate(4096) == one)
  }

  /// The hits run while the chunk's lock is held: one that took it would wait for ever. What else the
  /// allocator shares (its list, its lock, its counts, its reference count) is the same bit by bit
  /// afterwards, which only a write that is undone again would escape.
  @Test func `a million hits take no lock and change nothing that is shared`() throws {
    let pool = try pool()
    let cache = try pool.cache()
    let warm = try (0..<3).map { _ in try cache.allocate(4096) }
    for one in warm { try cache.free(one) }
    // Swift does not see <malloc.h>, the loader does.
    typealias UsableSize = @convention(c) (UnsafeMutableRawPointer?) -> Int
    guard let symbol = unsafe dlsym(nil, "malloc_usable_size") else { throw PoolError.noMemory }
    let usableSize = unsafe unsafeBitCast(symbol, to: UsableSize.self)
    func object() -> [UInt8] {
      let object = unsafe Unmanaged.passUnretained(pool).toOpaque()
      return unsafe Array(UnsafeRawBufferPointer(start: object, count: usableSize(object)))
    }
    func words() -> [UInt64] {
      var words: [UInt64] = []
      pool.forEachChunk { _, bitmap in
        for index in 0..<bitmap.wordCount { words.append(bitmap.word(index)) }
      }
      return words
    }
    let before = (words(), pool.available, pool.largestFreeRun, pool.statistics)
    var failures = 0
    pool.forEachChunk { _, _ in
      let bytes = object()
      for _ in 0..<500_000 {
        // By the slot, and by the slab.
        guard let one = try? cache.allocate(4096), let two = try? cache.allocate(4096),
          (try? cache.free(one)) != nil, (try? cache.free(two)) != nil
        else {
          failures += 1
          return
        }
      }
      if bytes != object() { failures += 1 }
    }
    #expect(failures == 0)
    #expect(before.0 == words())
    #expect(before.1 == pool.available)
    #expect(before.2 == pool.largestFreeRun)
    let after = pool.statistics
    #expect(after.allocations == before.3.allocations + 1_000_000)
    #expect(after.frees == before.3.frees + 1_000_000)
    #expect(after.cached == before.3.cached)
    #expect(after.peak == before.3.peak)
  }
}
