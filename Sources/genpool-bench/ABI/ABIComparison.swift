import GenPool

/// One workload, timed in turns in Swift and in C; medians in nanoseconds an allocation and its free.
struct ABIComparison {
  /// What is allocated and freed again.
  enum Workload: String, CaseIterable {
    /// A page by the first fit.
    case page = "4 KiB"
    /// 64 KiB for a device, at a multiple of them.
    case aligned = "64 KiB, aligned"
    /// A page by a cache.
    case cached = "4 KiB, cache"
  }

  let swift: Double
  let c: Double

  var difference: Double { c - swift }

  /// Of the chunk of both pools.
  static let start: UInt64 = 0x1000_0000
  static let size: ByteCount = .mebibytes(64)

  private static let repetitions = 100

  init(
    _ workload: Workload, _ pool: Pool, _ cache: Pool.AnyPlaceCache, _ library: LoadedLibrary,
    turns: Int
  ) {
    var times: (swift: [Double], c: [Double]) = ([], [])
    for _ in 0..<turns {
      times.swift.append(Self.time { Self.run(workload, pool, cache) })
      times.c.append(Self.time { Self.run(workload, library) })
    }
    swift = Self.median(times.swift)
    c = Self.median(times.c)
  }

  @inline(never)
  private static func run(_ workload: Workload, _ pool: Pool, _ cache: Pool.AnyPlaceCache) {
    switch workload {
    case .page:
      for _ in 0..<repetitions {
        guard let allocation = try? pool.allocate(.kibibytes(4)) else { return }
        _ = try? pool.free(allocation)
      }
    case .aligned:
      for _ in 0..<repetitions {
        guard
          let allocation = try? pool.allocateDMA(.kibibytes(64), alignment: .kibibytes(64))
        else { return }
        _ = try? pool.free(allocation)
      }
    case .cached:
      for _ in 0..<repetitions {
        guard let allocation = try? cache.allocate(.kibibytes(4)) else { return }
        _ = try? cache.free(allocation)
      }
    }
  }

  @inline(never)
  private static func run(_ workload: Workload, _ library: LoadedLibrary) {
    switch workload {
    case .page: for _ in 0..<repetitions { library.usePage() }
    case .aligned: for _ in 0..<repetitions { library.useAligned() }
    case .cached: for _ in 0..<repetitions { library.useCachedPage() }
    }
  }

  private static func time(_ body: () -> Void) -> Double {
    ContinuousClock().measure(body) / .nanoseconds(1) / Double(repetitions)
  }

  private static func median(_ times: [Double]) -> Double { times.sorted()[times.count / 2] }
}
