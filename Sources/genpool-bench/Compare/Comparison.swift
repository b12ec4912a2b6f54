import GenPool
import Glibc

/// How thoroughly is measured.
struct Effort: Sendable {
  /// How often the pool is turned over before anything is measured, in live allocations.
  let churn: Int
  /// Windows, of which the median counts.
  let windows: Int
  /// Pairs of an allocation and a free in a window.
  let pairs: Int
  /// How long the linear scan works in a window, in nanoseconds.
  let linearTime: UInt64
  /// Single allocations that are timed.
  let samples: Int

  static let full = Effort(
    churn: 10, windows: 11, pairs: 40_000, linearTime: 40_000_000, samples: 400_000)
  static let quick = Effort(
    churn: 1, windows: 9, pairs: 20_000, linearTime: 5_000_000, samples: 100_000)
}

/// One pool shape at one occupancy: genpool with any fit, the linear scan from copies of its state, and
/// bins at the same work, in turns.
///
/// In each window all three work: bins; genpool; then the linear scan takes over genpool's state, both do
/// the same operations, and their bitmaps must be equal.
final class Comparison {
  private let shape: PoolShape
  private let occupancy: Int
  private let effort: Effort
  private let bins: Work<BinnedSubject>
  private let harness: Work<NullSubject>

  init(_ shape: PoolShape, occupancy: Int, effort: Effort) throws(BenchError) {
    self.shape = shape
    self.occupancy = occupancy
    self.effort = effort
    guard let binned = BinnedSubject(shape) else { throw .noMemory }
    bins = Work(binned, shape, occupancy: occupancy, isFixed: false, seed: 1)
    bins.run(effort.churn * bins.liveCount)
    harness = Work(NullSubject(), shape, occupancy: occupancy, isFixed: false, seed: 1)
  }

  /// Measures one fit.
  func measure(_ fit: MeasuredFit) throws -> Measurement {
    let pool = try GenPoolSubject(shape, fit)
    let ours = Work(
      pool, shape, occupancy: occupancy, isFixed: fit == .fixed, seed: 1)
    ours.run(effort.churn * ours.liveCount)
    guard let linear = LinearSubject(shape, fit) else { throw BenchError.noMemory }

    var ns: [Double] = []
    var binsNs: [Double] = []
    var linearNs: [Double] = []
    var ratios: [Double] = []
    var harnessNs: [Double] = []
    let failuresBefore = ours.failures
    for _ in 0..<effort.windows {
      harnessNs.append(nanoseconds { self.harness.run(self.effort.pairs) } / Double(effort.pairs))
      binsNs.append(nanoseconds { self.bins.run(self.effort.pairs) } / Double(effort.pairs))
      let own = nanoseconds { ours.run(self.effort.pairs) } / Double(effort.pairs)
      ns.append(own)
      linear.copy(pool.words)
      let copy = Work(copying: ours, to: linear)
      let (pairs, time) = scan(copy)
      ours.run(pairs)
      guard linear.words == pool.words else { throw BenchError.placementDiffers }
      linearNs.append(time / Double(pairs))
      ratios.append(time / Double(pairs) / own)
    }
    let failures = Double(ours.failures - failuresBefore)
    let (latencies, binsLatencies) = latencies(ours)
    return Measurement(
      case: shape.name, fit: fit.rawValue, occupancy: occupancy,
      ns: Sorted(ns).median, baselineNs: Sorted(linearNs).median, ratio: Sorted(ratios).median,
      binsNs: Sorted(binsNs).median,
      binsRatio: Sorted(zip(ns, binsNs).map { $0 / $1 }).median,
      harnessNs: Sorted(harnessNs).median, latencies: latencies, binsLatencies: binsLatencies,
      failedShare: failures / Double(effort.windows * effort.pairs))
  }

  /// The linear scan works for a while: how many pairs, how long.
  private func scan(_ work: Work<LinearSubject>) -> (pairs: Int, time: Double) {
    let began = threadNanoseconds()
    let start = nanoseconds()
    var pairs = 0
    while true {
      // Few looks at the clock where pairs are short, and few pairs where they are long.
      work.run(pairs < 256 ? 1 : 64)
      pairs += pairs < 256 ? 1 : 64
      let elapsed = nanoseconds() - start
      if pairs >= 3, elapsed >= effort.linearTime || pairs >= effort.pairs {
        return (pairs, Double(threadNanoseconds() - began))
      }
    }
  }

  /// Single allocations, in turns.
  private func latencies(_ ours: Work<GenPoolSubject>) -> (Sorted, Sorted) {
    var own = [Double]()
    var others = [Double]()
    while own.count < effort.samples {
      ours.time(effort.samples / 10, into: &own)
      bins.time(effort.samples / 10, into: &others)
    }
    return (Sorted(own), Sorted(others))
  }

  /// The case `empty`: one granule is allocated and freed in a pool with nothing else in it.
  static func empty(_ fit: MeasuredFit, effort: Effort) throws -> Measurement {
    let shape = PoolShape.empty
    let ours = try GenPoolSubject(shape, fit)
    guard let linear = LinearSubject(shape, fit), let bins = BinnedSubject(shape) else {
      throw BenchError.noMemory
    }
    var ns: [Double] = []
    var binsNs: [Double] = []
    var linearNs: [Double] = []
    var harnessNs: [Double] = []
    for _ in 0..<effort.windows {
      harnessNs.append(try pairs(NullSubject(), effort.pairs, into: nil))
      binsNs.append(try pairs(bins, effort.pairs, into: nil))
      ns.append(try pairs(ours, effort.pairs, into: nil))
      linearNs.append(try pairs(linear, effort.pairs, into: nil))
      guard linear.words == ours.words else { throw BenchError.placementDiffers }
    }
    let latencies = Samples()
    let binsLatencies = Samples()
    _ = try pairs(ours, effort.samples, into: latencies)
    _ = try pairs(bins, effort.samples, into: binsLatencies)
    return Measurement(
      case: shape.name, fit: fit.rawValue, occupancy: 0,
      ns: Sorted(ns).median, baselineNs: Sorted(linearNs).median,
      ratio: Sorted(zip(linearNs, ns).map { $0 / $1 }).median, binsNs: Sorted(binsNs).median,
      binsRatio: Sorted(zip(ns, binsNs).map { $0 / $1 }).median,
      harnessNs: Sorted(harnessNs).median, latencies: Sorted(latencies.values),
      binsLatencies: Sorted(binsLatencies.values), failedShare: 0)
  }

  private final class Samples {
    var values: [Double] = []
  }

  /// Nanoseconds a pair in an empty pool; with `samples`, each allocation is timed.
  private static func pairs<Pool: Subject>(
    _ pool: Pool, _ count: Int, into samples: Samples?
  ) throws(BenchError) -> Double {
    let start = threadNanoseconds()
    for _ in 0..<count {
      let before = samples == nil ? 0 : nanoseconds()
      guard let handle = pool.allocate(1, at: 0) else { throw .placementDiffers }
      samples?.values.append(Double(nanoseconds() - before))
      pool.free(handle, 1)
    }
    return Double(threadNanoseconds() - start) / Double(count)
  }
}

/// Why nothing was measured, or nothing kept.
enum BenchError: Error, CustomStringConvertible {
  case noMemory
  case placementDiffers
  /// A path and an errno.
  case cannotWrite(String, Int32)
  case noBaseline

  var description: String {
    switch self {
    case .noMemory: "no memory for a pool to measure against"
    case .placementDiffers: "genpool and the linear scan chose different places"
    case .noBaseline: "the process that echoes could not be started, or has ended"
    case .cannotWrite(let path, let errno):
      "write \(path): \(unsafe String(cString: strerror(errno)))"
    }
  }
}
