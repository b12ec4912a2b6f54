import Synchronization

extension RangeAllocator {
  /// Allocates `size` bytes, rounded up to granules, from the newest chunk that has a place which
  /// meets `constraints`.
  ///
  /// - Parameters:
  ///   - size: in bytes, at least 1.
  ///   - fit: how the place is chosen among those that do; the pool's own when nil.
  /// - Throws: as ``allocate(_:fit:)``; `unconstrainable` when no chunk could ever meet them;
  ///   `boundaryIsNoPowerOfTwo`.
  /// - Complexity: as ``allocate(_:fit:)`` while the place that would be chosen anyway meets them;
  ///   else O(words of the bitmaps).
  public func allocate(
    _ size: ByteCount, fit: Fit? = nil, meeting constraints: Constraints
  ) throws(Failure) -> Allocation {
    try take(size, fit: fit, meeting: constraints, mustBeMapped: false).allocation
  }

  func take(
    _ size: ByteCount, fit: Fit?, meeting constraints: Constraints,
    busAlignment: ByteCount? = nil, mustBeMapped: Bool
  ) throws(Failure) -> Taken {
    guard size > .zero else { throw .emptyRequest }
    guard !forkGuard.isForked else { throw .forked }
    if fit?.isRefused == true { throw .alignmentIsZero }
    if let boundary = constraints.boundary, !boundary.isPowerOfTwo {
      throw .boundaryIsNoPowerOfTwo(boundary)
    }
    let request = request(size, fit: fit)
    var isPossible = false
    let taken = try searching { () throws(Failure) in
      try list.first { (chunk) throws(Failure) -> Taken? in
        guard let (window, life) = window(in: chunk, request.count, constraints) else {
          return nil
        }
        isPossible = true
        guard chunk.pointee.mayServe(request) else { return nil }
        return try take(
          request, from: chunk, fit: fit, within: window, ofLife: life, busAlignment: busAlignment,
          mustBeMapped: mustBeMapped)
      }
    }
    if let taken { return taken }
    try refuseIfDestroyed()
    guard isPossible else {
      throw .unconstrainable(requested: size, unmet(constraints, count: request.count))
    }
    throw failure(size, fit: fit)
  }

  /// The window in which constraints let `count` granules be in a chunk, and which chunk
  /// that was of those its storage has been; nil when it could never have them.
  private func window(
    in chunk: ChunkReference, _ count: GranuleCount, _ constraints: Constraints
  ) -> (ChunkWindow, life: UInt32)? {
    withState(of: chunk) { state in
      guard !chunk.pointee.isRemoved, constraints.admits(state.identity.traits),
        let window = ChunkWindow(
          constraints, count: count, bus: state.identity.bus, granule: granule),
        window.admitsSome(of: granule.granules(within: state.identity.size), count)
      else { return nil }
      return (window, chunk.pointee.life.load(ordering: .relaxed))
    }
  }
}
