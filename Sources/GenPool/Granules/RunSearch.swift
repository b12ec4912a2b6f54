/// Where a run of free granules is: the kernel's search algorithms, as functions of one chunk's
/// bitmap. This file is the one place that knows how a run is found; an index may replace the scan
/// as long as every answer stays the same.
///
/// All are linear in the words of the bitmap; none allocates, locks or changes anything.
extension GranuleWords where Self: ~Copyable {
  /// The lowest index ≥ `start` with `count` free granules, where (index + `offset`) is rounded up
  /// by `mask`; nil when there is none. The kernel's `bitmap_find_next_zero_area_off`.
  ///
  /// `mask` need not be 2^k − 1: the formula is kept as it is for any value, because the kernel
  /// keeps it (semantics: alignments that are no power of two).
  func firstFit(
    from start: GranuleIndex, count wanted: GranuleCount, mask: UInt64 = 0, offset: UInt64 = 0
  ) -> GranuleIndex? {
    let limit = count.rawValue
    let wanted = wanted.rawValue
    var position = start.rawValue
    while true {
      let free = nextFree(from: position)
      guard free < limit else { return nil }
      let raised = UInt64(truncatingIfNeeded: free).addingReportingOverflow(offset)
      let padded = raised.partialValue.addingReportingOverflow(mask)
      // An alignment so large that the sum wraps has no multiple inside any chunk.
      guard !raised.overflow, !padded.overflow else { return nil }
      let aligned = (padded.partialValue & ~mask) &- offset
      guard aligned <= UInt64(limit), wanted <= limit &- Int(aligned) else { return nil }
      let index = Int(aligned)
      let end = index &+ wanted
      let taken = nextAllocated(from: index, limit: end)
      if taken == end { return GranuleIndex(index) }
      position = taken &+ 1
    }
  }

  /// The start of the shortest free run that holds `count` granules, the lowest of equals; only
  /// what lies at or after `start` counts. The kernel's `gen_pool_best_fit`.
  func bestFit(from start: GranuleIndex, count wanted: GranuleCount) -> GranuleIndex? {
    let limit = count.rawValue
    let wanted = wanted.rawValue
    var best: GranuleIndex?
    var bestLength = Int.max
    var position = nextFree(from: start.rawValue)
    while position < limit {
      let end = nextAllocated(from: position, limit: limit)
      let length = end &- position
      if length >= wanted, length < bestLength {
        best = GranuleIndex(position)
        bestLength = length
        if length == wanted { break }
      }
      position = nextFree(from: end)
    }
    return best
  }

  /// `index` itself when `count` granules from it on lie in the map and are free. From `start` on,
  /// the place may have moved: then there is none. The kernel's `gen_pool_fixed_alloc`.
  func fixedFit(
    from start: GranuleIndex, at index: GranuleIndex, count wanted: GranuleCount
  ) -> GranuleIndex? {
    let limit = count.rawValue
    guard index.rawValue <= limit, wanted.rawValue <= limit &- index.rawValue else { return nil }
    // The kernel searches from start + index and compares the result with index.
    let from = GranuleIndex(start.rawValue &+ index.rawValue)
    return firstFit(from: from, count: wanted) == index ? index : nil
  }
}
