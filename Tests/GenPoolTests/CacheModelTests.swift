import GenPool
import Reference
import Testing

/// Long random lives of caches and their pool beside a set of granules.
struct CacheModelTests {
  private static let start: UInt64 = 0x10_0800
  private static let granules = 700

  @Test(arguments: 1...24 as ClosedRange<UInt64>)
  func `memory is handed out once and freed once, by any way, and every sum is right`(
    seed: UInt64
  ) throws {
    var random = SplitMix64(seed: seed)
    let pool = Pool(granule: .page)
    let chunks = [Self.start, Self.start + 0x1000_0000]
    for start in chunks {
      try pool.add(start: VirtualAddress(start), size: ByteCount(4096 * UInt64(Self.granules)))
    }
    var caches = try (0..<3).map { _ in
      try pool.cache(
        largest: ByteCount(4096 * (1 + random.next(below: 64))),
        limit: ByteCount(4096 * random.next(below: 400)))
    }
    /// The granules that users have, by address.
    var live: Set<UInt64> = []
    var ranges: [(start: UInt64, size: UInt64)] = []
    var (allocations, frees) = (0, 0)
    var draining = false

    func granules(_ start: UInt64, _ size: UInt64) -> [UInt64] {
      guard let chunk = chunks.first(where: { start >= $0 && start - $0 < 0x1000_0000 }) else {
        return []
      }
      let first = (start - chunk) >> 12
      return (0..<(size + 4095) >> 12).map { chunk + (first + $0) << 12 }
    }

    for step in 0..<3000 {
      let way = Int(random.next(below: 5))
      switch random.next(below: 100) {
      case 0..<48:
        let size: UInt64 =
          1 + random.next(below: random.next(below: 3) == 0 ? (70 as UInt64) << 12 : 4 << 12)
        let made =
          way < 3
          ? try? caches[way].allocate(ByteCount(size)) : try? pool.allocate(ByteCount(size))
        guard let made else { continue }
        allocations += 1
        for granule in granules(made.start.rawValue, size) {
          #expect(
            live.insert(granule).inserted, "seed \(seed) step \(step): \(granule) was live")
        }
        if draining { #expect(made.start.rawValue < chunks[1], "seed \(seed) step \(step)") }
        ranges.append((made.start.rawValue, size))
      case 48..<95:
        guard !ranges.isEmpty else { continue }
        let index = Int(random.next(below: UInt64(ranges.count)))
        var (start, size) = ranges[index]
        switch random.next(below: 12) {
        case 0:  // The upper half.
          start += (size / 2) & ~4095
          size -= (size / 2) & ~4095
        case 1:  // Into whatever comes behind.
          size += 3 << 12
        case 2:  // From inside a granule.
          start += 5
        case 3:  // It stays in the list: it will be freed twice.
          break
        default: ranges.remove(at: index)
        }
        let freed = granules(start, size)
        let inside = freed.allSatisfy { ($0 & 0xfff_ffff) - (Self.start & 0xfff_ffff) < 700 << 12 }
        guard inside, start & 0xfff == 0x800 || start + size <= freed[freed.count - 1] + 4096 else {
          continue
        }
        let isLive = freed.allSatisfy { live.contains($0) }
        let address = VirtualAddress(start)
        var succeeded = true
        do {
          if way < 3 {
            try caches[way].free(address, size: ByteCount(size))
          } else {
            try pool.free(address, size: ByteCount(size))
          }
        } catch {
          succeeded = false
        }
        #expect(succeeded == isLive, "seed \(seed) step \(step): free \(start) \(size) by \(way)")
        if succeeded {
          frees += 1
          live.subtract(freed)
        }
      case 95:
        if way < 3 { try caches[way].flush() }
      case 96:
        if draining {
          try pool.undrain(chunkAt: VirtualAddress(chunks[1]))
        } else {
          try pool.drain(chunkAt: VirtualAddress(chunks[1]))
        }
        draining.toggle()
      case 97:
        if way < 3 { caches[way] = try pool.cache() }
      default:
        guard let (start, size) = ranges.last, granules(start, size).allSatisfy(live.contains)
        else { continue }
        try pool.tag(VirtualAddress(start), size: ByteCount(size), as: way == 0 ? nil : Tag(1))
      }
      if step % 16 == 0 { check(step) }
    }
    func check(_ step: Int) {
      let held = caches.reduce(ByteCount.zero) { $0 + $1.held }
      let statistics = pool.statistics
      #expect(statistics.cached == held, "seed \(seed) step \(step)")
      #expect(statistics.allocations == allocations, "seed \(seed) step \(step)")
      #expect(statistics.frees == frees, "seed \(seed) step \(step)")
      let sum = pool.chunks.reduce(ByteCount.zero) { $0 + ($1.size - $1.available) }
      #expect(sum == held + ByteCount(4096 * UInt64(live.count)), "seed \(seed) step \(step)")
      for cache in caches {
        #expect(cache.held <= cache.limit)
        cache.checkInvariants()
      }
      pool.checkInvariants()
    }
    if draining { try pool.undrain(chunkAt: VirtualAddress(chunks[1])) }
    for granule in live { try pool.free(VirtualAddress(granule), size: 4096) }
    for cache in caches { try cache.flush() }
    #expect(pool.available == pool.size)
    pool.checkInvariants()
    try pool.destroy()
  }
}
