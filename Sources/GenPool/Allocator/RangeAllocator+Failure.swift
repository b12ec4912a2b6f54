import Synchronization

/// Why an allocation fails, found out when it has.
extension RangeAllocator {
  /// Before any other reason is given.
  @inline(__always)
  func refuseIfDestroyed() throws(Failure) {
    if isDestroyed.load(ordering: .relaxed) { throw .destroyed }
  }

  /// The reason for which there was no place in any chunk. O(chunks), and without a lock unless
  /// an alignment was not asked for before, or the allocator's own fit is a fixed place.
  ///
  /// - Parameter batch: the chunks whose locks the caller holds, with what it took there, and the
  ///   allocator's lock beside.
  @inline(never)
  func failure(_ size: ByteCount, fit: Fit?, after batch: HeldChunks? = nil) -> Failure {
    guard !isDestroyed.load(ordering: .relaxed) else { return .destroyed }
    // Many chunks need not all be looked at where the answer does not tell of all.
    if batch == nil, !isFirst(fit),
      let alignment = indexedFit(fit)?.alignment(of: granule.granules(holding: size), granule),
      let longest = list.longestRun(alignment.order, fromChunkStart: alignment.fromChunkStart),
      list.first({ $0.pointee.mayHold(size) ? true : nil }) == true
    {
      failures.fragmented.wrappingAdd(1, ordering: .relaxed)
      return noAlignedRun(size, order: alignment.order, longest: GranuleCount(longest))
    }
    var available: UInt64 = 0
    var most: UInt64 = 0
    var longest = 0
    list.forEach { chunk in
      guard chunk.pointee.isOpen else { return }
      let bytes = batch?.available(chunk) ?? chunk.pointee.available.load(ordering: .relaxed)
      available &+= bytes
      most = max(most, bytes)
      longest = max(
        longest, batch?.longest(chunk) ?? chunk.pointee.longest.load(ordering: .relaxed))
    }
    if most < size.rawValue {
      failures.full.wrappingAdd(1, ordering: .relaxed)
      return .full(requested: size, available: ByteCount(available))
    }
    failures.fragmented.wrappingAdd(1, ordering: .relaxed)
    if !isFirst(fit), let failure = failure(size, placedBy: fit, after: batch) { return failure }
    return .fragmented(
      requested: size, available: ByteCount(available),
      largest: granule.bytes(GranuleCount(longest)))
  }

  /// The reason if it lies in what the fit asks for beside a free run.
  private func failure(
    _ size: ByteCount, placedBy fit: Fit?, after batch: HeldChunks?
  ) -> Failure? {
    let count = granule.granules(holding: size)
    if let (order, fromChunkStart) = indexedFit(fit)?.alignment(of: count, granule) {
      let longest = longestFreeRun(
        alignedTo: order, fromChunkStart: fromChunkStart, after: batch)
      return noAlignedRun(size, order: order, longest: longest)
    }
    if !needsRun(fit),
      case .fixed(let offset) = fit ?? batch?.defaultFit ?? state.withLock({ $0.fit })
    {
      return .notFree(requested: size, offset: offset)
    }
    return nil
  }

  private func noAlignedRun(
    _ size: ByteCount, order: Int, longest: GranuleCount
  ) -> Failure {
    .noAlignedRun(
      requested: size, alignment: ByteCount(granule.byteCount.rawValue &<< UInt64(order)),
      largest: granule.bytes(longest))
  }

  /// The longest free run from a place that is aligned. Takes locks only where that is not known
  /// without.
  private func longestFreeRun(
    alignedTo order: Int, fromChunkStart: Bool, after batch: HeldChunks?
  ) -> GranuleCount {
    var longest = GranuleCount(0)
    list.forEach { chunk in
      guard chunk.pointee.isOpen,
        chunk.pointee.longest.load(ordering: .relaxed) > longest.rawValue
      else { return }
      if let batch, batch.holds(chunk) {
        let here = chunk.pointee.state.withValue {
          $0.index.longest(alignedTo: order, fromChunkStart: fromChunkStart)
        }
        longest = max(longest, here)
        return
      }
      let here =
        chunk.pointee.longestRun(order, fromChunkStart).map { GranuleCount($0) }
        ?? chunk.pointee.state.withLock { state in
          let longest = state.index.longest(alignedTo: order, fromChunkStart: fromChunkStart)
          chunk.pointee.publishRuns(&state)
          return longest
        }
      longest = max(longest, here)
    }
    return longest
  }
}
