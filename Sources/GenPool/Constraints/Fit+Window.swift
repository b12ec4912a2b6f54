extension Fit {
  /// The place that this fit chooses among those in `window`; nil for none. As fast as without a
  /// window while the place that it would choose then is in it, else O(words of the bitmap).
  ///
  /// The first and the aligned fits: the lowest place. The best fit: the lowest place in the
  /// shortest free run that has one, the lowest of equals. A fixed place, or what an own algorithm
  /// chose: that or none.
  func place<Shape>(
    _ request: Request, in index: inout RunIndex<Shape>, within window: ChunkWindow
  ) -> GranuleIndex? {
    guard let first = place(request, in: &index) else { return nil }
    if window.admits(GranuleRun(first: first, count: request.count)) { return first }
    switch self {
    case .first, .firstAligned, .orderAligned:
      return lowestPlace(request, from: first, in: index.bitmap, within: window)
    case .best: return Self.bestPlace(request, in: index.bitmap, within: window)
    case .fixed, .custom: return nil
    }
  }

  /// The first fit from `first` on, which is a place outside the window, and so on.
  private func lowestPlace(
    _ request: Request, from first: GranuleIndex, in bitmap: borrowing GranuleBitmap,
    within window: ChunkWindow
  ) -> GranuleIndex? {
    var place = first
    while let next = window.next(from: GranuleRun(first: place, count: request.count)) {
      let moved = Request(
        start: next.first, count: request.count, chunkStart: request.chunkStart,
        granule: request.granule)
      guard let found = self.place(moved, in: bitmap) else { return nil }
      place = found
      if window.admits(GranuleRun(first: place, count: request.count)) { return place }
    }
    return nil
  }

  private static func bestPlace(
    _ request: Request, in bitmap: borrowing GranuleBitmap, within window: ChunkWindow
  ) -> GranuleIndex? {
    var best: (place: GranuleIndex, length: GranuleCount)?
    bitmap.forEachFreeRun { run in
      guard run.count >= request.count, best.map({ run.count < $0.length }) ?? true else {
        return true
      }
      let lowest = GranuleRun(first: run.first, count: request.count)
      if let place = window.next(from: lowest), place.end <= run.end {
        best = (place.first, run.count)
      }
      return true
    }
    return best?.place
  }
}
