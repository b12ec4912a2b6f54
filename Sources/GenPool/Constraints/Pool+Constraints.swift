extension Pool {
  /// Allocates `size` bytes, rounded up to granules, from the newest chunk that has a place which meets
  /// `constraints`.
  ///
  /// - Parameters:
  ///   - size: in bytes, at least 1.
  ///   - fit: how the place is chosen among those that do; the pool's own when nil.
  /// - Throws: as ``allocate(_:fit:)``; `unconstrainable` when no chunk could ever meet them;
  ///   `boundaryIsNoPowerOfTwo`.
  /// - Complexity: as ``allocate(_:fit:)`` while the place that would be chosen anyway meets them; else
  ///   O(words of the bitmaps).
  public func allocate(
    _ size: ByteCount, fit: Fit? = nil, meeting constraints: Constraints
  ) throws(PoolError) -> Allocation {
    let (chunk, index) = try take(size, fit: fit, meeting: constraints, mustBeMapped: false)
    return Allocation(
      start: chunk.pointee.address(of: index), size: size, owner: chunk.pointee.owner)
  }

  /// Allocates memory for a device to reach, at a place that meets `constraints`.
  ///
  /// - Parameters:
  ///   - alignment: of the virtual, physical and bus address; a power of two. Nil for none beyond what
  ///     the fit says, which it replaces.
  ///   - zeroed: as in ``allocateDMA(_:fit:zeroed:)``.
  /// - Throws: as ``allocate(_:fit:meeting:)``; `notMapped` when there is nothing to zero;
  ///   `busMisaligned`.
  public func allocateDMA(
    _ size: ByteCount, alignment: ByteCount? = nil, fit: Fit? = nil,
    meeting constraints: Constraints, zeroed: Bool = false
  ) throws(PoolError) -> DMAAllocation {
    let (chunk, index) = try take(
      size, fit: alignment.map { .firstAligned($0) } ?? fit, meeting: constraints,
      busAlignment: alignment.flatMap { $0.isPowerOfTwo ? $0 : nil }, mustBeMapped: zeroed)
    return handOut(size, at: index, of: chunk, zeroed: zeroed)
  }

  private func take(
    _ size: ByteCount, fit: Fit?, meeting constraints: Constraints,
    busAlignment: ByteCount? = nil, mustBeMapped: Bool
  ) throws(PoolError) -> (ChunkReference, GranuleIndex) {
    guard size > .zero else { throw .emptyRequest }
    guard !forkGuard.isForked else { throw .forked }
    if let refusal = fit?.refusal { throw refusal }
    if let boundary = constraints.boundary, !boundary.isPowerOfTwo {
      throw .boundaryIsNoPowerOfTwo(boundary)
    }
    let request = request(size, fit: fit)
    let count = request.count
    var isPossible = false
    var next = list.newest
    while let chunk = next {
      next = chunk.pointee.next
      guard !chunk.pointee.isRemoved, constraints.admits(chunk.pointee.traits),
        let window = ChunkWindow(
          constraints, count: count, bus: chunk.pointee.bus, granule: granule),
        window.admitsSome(of: chunk.pointee.granules, count)
      else { continue }
      isPossible = true
      if chunk.pointee.mayServe(request),
        let index = try take(
          count, from: chunk, fit: fit, within: window, busAlignment: busAlignment,
          mustBeMapped: mustBeMapped)
      {
        return (chunk, index)
      }
    }
    try refuseIfDestroyed()
    guard isPossible else { throw .unconstrainable(requested: size) }
    throw failure(size, fit: fit)
  }
}
