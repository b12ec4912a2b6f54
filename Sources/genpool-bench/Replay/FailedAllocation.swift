import GenPool

/// An allocation that the record says failed, and the pool at that moment when it is replayed.
struct FailedAllocation: CustomStringConvertible {
  let record: Trace.Record
  let size: ByteCount
  /// The call's own, else the pool's.
  let fit: Fit
  let available: ByteCount
  /// The longest free run.
  let largest: ByteCount
  /// The same counted from a place with the alignment asked for; nil where none was, and where too little
  /// was free in all.
  private(set) var largestAligned: ByteCount?

  init(_ record: Trace.Record, size: ByteCount, fit: Fit, in pool: Pool) {
    self.record = record
    self.size = size
    self.fit = fit
    available = pool.available
    largest = pool.largestFreeRun
  }

  /// Takes over what the pool says of the longest run that is aligned.
  mutating func explain(by error: PoolError) {
    if case .noAlignedRun(_, _, let largest) = error { largestAligned = largest }
  }

  var description: String {
    "\(size), \(fitName): \(available) available, longest run \(largest)"
      + (largestAligned.map { ", so aligned \($0)" } ?? "")
  }

  /// The fit, for people.
  var fitName: String {
    switch fit {
    case .first: "first fit"
    case .firstAligned(let alignment): "aligned to \(alignment)"
    case .orderAligned: "order-aligned"
    case .best: "best fit"
    case .fixed(let offset): "at offset \(offset)"
    case .custom: "own algorithm"
    }
  }
}

extension Trace.Record {
  /// What was asked for, if this is an allocation that failed when it was recorded.
  var failedRequest: (size: ByteCount, fit: Fit?)? {
    guard answer == "0 0" || answer == "0 -" else { return nil }
    switch operation {
    case .allocate(_, let size, let fit), .allocateDMA(_, let size, let fit): return (size, fit)
    case .allocateDMAAligned(_, let size, let alignment): return (size, .firstAligned(alignment))
    default: return nil
    }
  }
}
