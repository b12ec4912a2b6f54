import ArgumentParser
import GenPool
import Reference

/// `genpool-bench cache`: what a thread's own cache saves.
struct CacheCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cache",
    abstract: "Times an allocation and its free through a cache against the pool's own.",
    discussion: """
      One thread, 64MiB@4KiB, first fit, in turns of a few microseconds, so that what disturbs the machine \
      disturbs both; in nanoseconds a pair: the median of all turns, and the least. "at once" frees what \
      was just allocated; "of N" frees one of N live allocations at random before each allocation.
      """)

  @Option(help: "Turns of each.")
  var turns = 2000
  @Option(help: "Pairs in a turn.")
  var pairs = 2000
  @Flag(help: "Print one JSON object.")
  var json = false

  func validate() throws {
    guard turns > 0, pairs > 0 else { throw ValidationError("--turns and --pairs are at least 1") }
  }

  func run() throws {
    let works = [
      CachedWork("4 KiB at once", .kibibytes(4), live: 0),
      CachedWork("12 KiB at once", .kibibytes(12), live: 0),
      CachedWork("64 KiB at once", .kibibytes(64), live: 0),
      CachedWork("4 KiB of 16", .kibibytes(4), live: 16),
      CachedWork("4 KiB of 1000", .kibibytes(4), live: 1000),
      CachedWork("4 KiB of 10000", .kibibytes(4), live: 10_000),
    ]
    let results = try works.map { try $0.measure(turns: turns, pairs: pairs) }
    let machine = Machine()
    if json {
      for result in results { print(try DatedRow(result, on: machine).json) }
      return
    }
    print("\(machine); 64MiB@4KiB, \(turns) turns of \(pairs) pairs\n")
    print("alloc+free, ns     pool (least)    cache (least)")
    for result in results {
      func pair(_ median: Double, _ least: Double) -> String {
        let text = "\(rounded(median)) (\(rounded(least)))"
        return String(repeating: " ", count: max(0, 14 - text.count)) + text
      }
      print(
        result.work + String(repeating: " ", count: 16 - result.work.count),
        pair(result.pool, result.poolLeast), " ", pair(result.cache, result.cacheLeast))
    }
  }

  private func rounded(_ value: Double) -> Double { (value * 10).rounded() / 10 }
}

/// The calls of one thread to a pool, and to a cache of another pool.
private struct CachedWork {
  let name: String
  let size: ByteCount
  let live: Int

  struct Result: Encodable {
    let work: String
    let pool: Double
    let poolLeast: Double
    let cache: Double
    let cacheLeast: Double
  }

  init(_ name: String, _ size: ByteCount, live: Int) {
    self.name = name
    self.size = size
    self.live = live
  }

  func measure(turns: Int, pairs: Int) throws -> Result {
    let pool = try Self.pool()
    let cached = try Self.pool()
    let cache = try cached.cache()
    var (own, its) = ([Allocation](), [Allocation]())
    for _ in 0..<live {
      own.append(try pool.allocate(size))
      its.append(try cache.allocate(size))
    }
    var random = SplitMix64(seed: 1)
    var order = (0..<(live == 0 ? 0 : pairs)).map { _ in random.next(below: live) }
    var (poolTimes, cacheTimes) = ([Double](), [Double]())
    for _ in 0..<turns {
      order.shuffle(using: &random)
      let plain = time { Self.churn(pool, size, pairs, order, &own) }
      let quick = time { Self.churn(cache, size, pairs, order, &its) }
      poolTimes.append(plain / Double(pairs))
      cacheTimes.append(quick / Double(pairs))
    }
    let (plain, quick) = (Sorted(poolTimes), Sorted(cacheTimes))
    return Result(
      work: name, pool: plain.median, poolLeast: plain.quantile(0), cache: quick.median,
      cacheLeast: quick.quantile(0))
  }

  private static func pool() throws -> Pool {
    let pool = Pool(granule: .page)
    try pool.add(start: VirtualAddress(0x1000_0000), size: .mebibytes(64))
    return pool
  }

  private func time(_ body: () -> Void) -> Double {
    let start = threadNanoseconds()
    body()
    return Double(threadNanoseconds() - start)
  }

  @inline(never)
  private static func churn(
    _ pool: Pool, _ size: ByteCount, _ pairs: Int, _ order: [Int], _ live: inout [Allocation]
  ) {
    if order.isEmpty {
      for _ in 0..<pairs {
        guard let made = try? pool.allocate(size) else { return }
        _ = try? pool.free(made)
      }
    }
    for index in order {
      _ = try? pool.free(live[index])
      guard let made = try? pool.allocate(size) else { return }
      live[index] = made
    }
  }

  @inline(never)
  private static func churn(
    _ cache: Pool.AnyPlaceCache, _ size: ByteCount, _ pairs: Int, _ order: [Int],
    _ live: inout [Allocation]
  ) {
    if order.isEmpty {
      for _ in 0..<pairs {
        guard let made = try? cache.allocate(size) else { return }
        _ = try? cache.free(made)
      }
    }
    for index in order {
      _ = try? cache.free(live[index])
      guard let made = try? cache.allocate(size) else { return }
      live[index] = made
    }
  }
}
