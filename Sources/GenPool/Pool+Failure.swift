import Synchronization

/// Why an allocation fails, found out when it has.
extension Pool {
  /// Before any other reason is given; only on ways that fail anyway.
  func refuseIfDestroyed() throws(PoolError) {
    if state.withLock({ $0.isDestroyed }) { throw .destroyed }
  }

  /// Why there was no place in any chunk.
  @inline(never)
  func failure(_ size: ByteCount, fit: Fit?) -> PoolError {
    // Before any other reason is given.
    let (isDestroyed, aligning) = state.withLock { state in
      (state.isDestroyed, (fit ?? state.fit).aligns ? fit ?? state.fit : nil)
    }
    guard !isDestroyed else { return .destroyed }
    let fits = list.first { chunk in
      chunk.isOpen && chunk.available.load(ordering: .relaxed) >= size.rawValue ? true : nil
    }
    if fits == nil {
      failures.full.add(1, ordering: .relaxed)
      return .full(requested: size, available: available)
    }
    failures.fragmented.add(1, ordering: .relaxed)
    return .fragmented(
      requested: size, available: available,
      largest: aligning.map { largestFreeRun(placedAs: size, by: $0) } ?? largestFreeRun)
  }

  /// The longest free run from a place that is aligned as `fit` aligns `size` bytes.
  private func largestFreeRun(placedAs size: ByteCount, by fit: Fit) -> ByteCount {
    let count = granule.granules(holding: size)
    var longest = GranuleCount(0)
    list.forEach { chunk in
      guard chunk.pointee.isOpen else { return }
      longest = max(
        longest, chunk.pointee.state.withLock { fit.longest(count, granule, in: &$0.index) })
    }
    return granule.bytes(longest)
  }
}
