/// Where constraints let a run of granules be in one chunk.
struct ChunkWindow {
  /// The bus address of granule 0; 0 where no constraint asks for it.
  private let start: UInt64
  /// The highest bus address that a byte may have.
  private let last: UInt64
  /// Bus addresses on two sides of a boundary differ above this many bits; 64 without boundaries.
  private let boundaryOrder: UInt64
  private let granule: GranuleSize

  /// Nil when no run of `count` granules can meet `constraints` in this chunk.
  init?(
    _ constraints: Constraints, count: GranuleCount, bus: BusAddress?, granule: GranuleSize
  ) {
    let asksForBus = constraints.below != nil || constraints.boundary != nil
    guard !asksForBus || bus != nil else { return nil }
    start = asksForBus ? bus?.rawValue ?? 0 : 0
    switch constraints.below {
    case .some(let limit):
      guard limit.rawValue > 0 else { return nil }
      last = limit.rawValue - 1
    case nil: last = .max
    }
    let size = granule.bytes(count)
    switch constraints.boundary {
    case .some(let boundary):
      guard size <= boundary else { return nil }
      boundaryOrder = UInt64(boundary.rawValue.trailingZeroBitCount)
    case nil: boundaryOrder = 64
    }
    self.granule = granule
  }

  /// Whether a chunk of `granules` has a place for `count` of them when it is empty.
  func admitsSome(of granules: GranuleCount, _ count: GranuleCount) -> Bool {
    guard count <= granules else { return false }
    let lowest = next(from: GranuleRun(first: GranuleIndex(0), count: count))
    return lowest.map { $0.end.rawValue <= granules.rawValue } ?? false
  }

  /// Whether a run may be here.
  func admits(_ run: GranuleRun) -> Bool {
    guard let (first, last) = bytes(run), last <= self.last else { return false }
    return (first ^ last) >> boundaryOrder == 0
  }

  /// The lowest run at or above `run` that crosses no boundary; nil when that is not below the
  /// limit.
  func next(from run: GranuleRun) -> GranuleRun? {
    guard let (first, last) = bytes(run), last <= self.last else { return nil }
    if (first ^ last) >> boundaryOrder == 0 { return run }
    // The first granule at or above the boundary, which is at most a granule above it.
    let boundary = (last >> boundaryOrder) << boundaryOrder
    let (sum, overflow) = (boundary &- start).addingReportingOverflow(
      granule.byteCount.rawValue - 1)
    guard !overflow, let index = Int(exactly: sum >> UInt64(granule.order)) else { return nil }
    let moved = GranuleRun(first: GranuleIndex(index), count: run.count)
    return admits(moved) ? moved : nil
  }

  /// The bus addresses of a run's first and last byte.
  private func bytes(_ run: GranuleRun) -> (first: UInt64, last: UInt64)? {
    let order = UInt64(granule.order)
    guard run.first.rawValue >= 0, run.count.rawValue > 0 else { return nil }
    let offset = UInt64(run.first.rawValue) << order
    let (first, overflow) = start.addingReportingOverflow(offset)
    let (last, over) = first.addingReportingOverflow(granule.bytes(run.count).rawValue - 1)
    return overflow || over ? nil : (first, last)
  }
}
