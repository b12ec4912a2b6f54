import Synchronization

/// Why an allocation fails, found out when it has.
extension RangeAllocator {
  /// Before any other reason is given.
  @inline(__always)
  func refuseIfDestroyed() throws(Failure) {
    if isDestroyed.load(ordering: .relaxed) { throw .destroyed }
  }

  /// Why there was no place in any chunk. O(chunks), and without a lock unless the fit asks for more than
  /// a free run.
  @inline(never)
  func failure(_ size: ByteCount, fit: Fit?) -> Failure {
    guard !isDestroyed.load(ordering: .relaxed) else { return .destroyed }
    var available: UInt64 = 0
    var most: UInt64 = 0
    var longest = 0
    list.forEach { chunk in
      guard chunk.pointee.isOpen else { return }
      let bytes = chunk.pointee.available.load(ordering: .relaxed)
      available &+= bytes
      most = max(most, bytes)
      longest = max(longest, chunk.pointee.longest.load(ordering: .relaxed))
    }
    if most < size.rawValue {
      failures.full.wrappingAdd(1, ordering: .relaxed)
      return .full(requested: size, available: ByteCount(available))
    }
    failures.fragmented.wrappingAdd(1, ordering: .relaxed)
    switch fit?.kind ?? fitKind.load(ordering: .relaxed) {
    case .first, .inRun: break
    case .anywhere:
      if case .fixed(let offset) = fit ?? state.withLock({ $0.fit }) {
        return .notFree(requested: size, offset: offset)
      }
    case .inAlignedRun:
      let fit = fit ?? state.withLock { $0.fit }
      longest = longestFreeRun(placedAs: size, by: fit).rawValue
      if let alignment = fit.alignment(of: granule.granules(holding: size), granule) {
        return .noAlignedRun(
          requested: size, alignment: alignment, largest: granule.bytes(GranuleCount(longest)))
      }
    }
    return .fragmented(
      requested: size, available: ByteCount(available),
      largest: granule.bytes(GranuleCount(longest)))
  }

  /// The longest free run from a place that is aligned as `fit` aligns `size` bytes. Locks only chunks that
  /// may have a longer one than was found, and do not say so themselves.
  private func longestFreeRun(placedAs size: ByteCount, by fit: Fit) -> GranuleCount {
    let count = granule.granules(holding: size)
    var longest = GranuleCount(0)
    list.forEach { chunk in
      guard chunk.pointee.isOpen,
        chunk.pointee.longest.load(ordering: .relaxed) > longest.rawValue
      else { return }
      longest = max(
        longest,
        chunk.pointee.state.withLock { state in
          let longest = fit.longest(count, granule, in: &state.index)
          chunk.pointee.publishBounds(&state)
          return longest
        })
    }
    return longest
  }
}
