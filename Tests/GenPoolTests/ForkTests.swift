import GenPool
import Glibc
import Testing

/// A forked child must not hand out its parent's memory.
@Suite(.serialized)
struct ForkTests {
  /// Forks, runs `body` in the child, and gives its verdict back: what a child prints or records
  /// is lost, so it answers with an exit status. Swift hides fork(), the loader does not.
  private func inForkedChild(_ body: () -> Int32) throws -> Int32 {
    typealias Fork = @convention(c) () -> pid_t
    guard let symbol = unsafe dlsym(nil, "fork") else { throw PoolError.forked }
    let fork = unsafe unsafeBitCast(symbol, to: Fork.self)
    let child = fork()
    if child == 0 { _exit(body()) }
    try #require(child > 0)
    var status: Int32 = 0
    while unsafe waitpid(child, &status, 0) < 0 && errno == EINTR {}
    return status & 0x7f == 0 ? status >> 8 & 0xff : -(status & 0x7f)
  }

  private func throwsForked(_ body: () throws(PoolError) -> Void) -> Bool {
    do {
      try body()
      return false
    } catch {
      return error == .forked
    }
  }

  @Test func `a forked child may ask, but not change anything`() throws {
    let pool = Pool(granule: .page)
    try pool.add(
      start: VirtualAddress(0x1000), size: 8192, physical: PhysicalAddress(0x10_0000))
    let allocation = try pool.allocate(4096)
    let status = try inForkedChild {
      guard throwsForked({ () throws(PoolError) in _ = try pool.allocate(1) }) else { return 1 }
      guard throwsForked({ () throws(PoolError) in try pool.free(allocation) }) else { return 2 }
      guard throwsForked({ () throws(PoolError) in try pool.setFit(.best) }) else { return 3 }
      guard
        throwsForked({ () throws(PoolError) in
          try pool.add(start: VirtualAddress(0x10_0000), size: 1)
        })
      else { return 4 }
      guard throwsForked({ () throws(PoolError) in try pool.destroy() }) else { return 5 }
      guard
        throwsForked({ () throws(PoolError) in _ = try pool.allocate(count: 1, of: 1) }),
        throwsForked({ () throws(PoolError) in try pool.free(contentsOf: [allocation]) })
      else { return 9 }
      guard pool.available == 4096, pool.contains(allocation.start, size: 4096) else { return 6 }
      guard pool.physicalAddress(of: allocation.start) == PhysicalAddress(0x10_0000) else {
        return 7
      }
      return pool.largestFreeRun == 4096 ? 0 : 8
    }
    #expect(status == 0)
    try pool.free(allocation)
  }

  @Test func `a child's own pools work, and its parent's still do not`() throws {
    let pool = Pool(granule: .page)
    try pool.add(start: VirtualAddress(0x1000), size: 8192)
    let status = try inForkedChild {
      let own = Pool(granule: .page)
      guard (try? own.add(start: VirtualAddress(0x1000), size: 8192)) != nil else { return 1 }
      guard let allocation = try? own.allocate(4096) else { return 2 }
      guard (try? own.destroy()) == nil, own.available == 4096 else { return 3 }
      _ = try? own.free(allocation)
      guard own.available == 8192 else { return 4 }
      return throwsForked({ () throws(PoolError) in _ = try pool.allocate(1) }) ? 0 : 5
    }
    #expect(status == 0)
    _ = try pool.allocate(1)
  }

  @Test func `a child gets nothing from its parent's cache, but from its own`() throws {
    let pool = Pool(granule: .page)
    try pool.add(start: VirtualAddress(0x10_0000), size: .mebibytes(1))
    let cache = try pool.cache()
    let out = try cache.allocate(4096)
    try cache.free(try cache.allocate(4096))
    let status = try inForkedChild {
      guard throwsForked({ () throws(PoolError) in _ = try cache.allocate(4096) }) else { return 1 }
      guard throwsForked({ () throws(PoolError) in _ = try cache.free(out) }) else { return 2 }
      guard throwsForked({ () throws(PoolError) in try cache.flush() }) else { return 3 }
      guard throwsForked({ () throws(PoolError) in _ = try pool.cache() }) else { return 4 }
      // Once there is a cache here, the parent's is still the parent's; and so it is in a grandchild.
      let own = Pool(granule: .page)
      guard (try? own.add(start: VirtualAddress(0x10_0000), size: .mebibytes(1))) != nil,
        let mine = try? own.cache(), let one = try? mine.allocate(4096)
      else { return 5 }
      _ = try? mine.free(one)
      guard mine.held == .kibibytes(256) else { return 5 }
      guard throwsForked({ () throws(PoolError) in _ = try cache.allocate(4096) }) else { return 6 }
      let grandchild = try? inForkedChild {
        guard throwsForked({ () throws(PoolError) in _ = try mine.allocate(4096) }) else {
          return 1
        }
        guard let third = try? own.cache() else {
          return throwsForked({ () throws(PoolError) in _ = try mine.allocate(4096) }) ? 0 : 2
        }
        _ = third
        return 3
      }
      guard grandchild == 0 else { return 7 }
      return pool.statistics.cached == cache.held ? 0 : 8
    }
    #expect(status == 0)
    try cache.free(out)
    #expect(cache.held == .kibibytes(256))
  }

  @Test func `a cache that ends in a child leaves its parent's as it was`() throws {
    let pool = Pool(granule: .page)
    try pool.add(start: VirtualAddress(0x10_0000), size: .mebibytes(1))
    var caches = [try pool.cache()]
    try caches[0].free(try caches[0].allocate(4096))
    let status = try inForkedChild {
      caches.removeAll()
      return pool.statistics.cached == .kibibytes(256) ? 0 : 1
    }
    #expect(status == 0)
    #expect(caches[0].held == .kibibytes(256))
  }

  @Test func `a lock held by another thread does not stop a child's queries`() throws {
    let pool = Pool(granule: .page)
    try pool.add(start: VirtualAddress(0x1000), size: 8192)
    // The child is made while this very thread holds the chunk's lock.
    var status: Int32 = -1
    pool.forEachChunk { _, _ in
      status =
        (try? inForkedChild {
          alarm(10)
          return pool.largestFreeRun == 8192 ? 0 : 1
        }) ?? -1
    }
    #expect(status == 0)
  }
}
