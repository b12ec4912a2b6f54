import Glibc

/// Nanoseconds of the machine's monotonic clock: reading it takes about 20 of them.
@inline(__always)
func nanoseconds() -> UInt64 {
  var time = timespec()
  unsafe clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_000
    &+ UInt64(truncatingIfNeeded: time.tv_nsec)
}

/// Nanoseconds that this thread has run: what else the machine does is not in them.
func threadNanoseconds() -> UInt64 {
  var time = timespec()
  unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_000
    &+ UInt64(truncatingIfNeeded: time.tv_nsec)
}

/// For how many nanoseconds of this thread `body` runs.
func nanoseconds(of body: () -> Void) -> Double {
  let start = threadNanoseconds()
  body()
  return Double(threadNanoseconds() - start)
}

/// Figures in rising order.
struct Sorted {
  private let values: [Double]

  init(_ values: [Double]) { self.values = values.sorted() }

  /// The value that `share` of all do not exceed.
  func quantile(_ share: Double) -> Double {
    guard let last = values.indices.last else { return .nan }
    return values[min(last, Int(Double(values.count) * share))]
  }

  var median: Double { quantile(0.5) }
}
