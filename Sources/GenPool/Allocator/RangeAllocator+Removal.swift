import Synchronization

/// Chunks that leave while the pool lives on: the kernel has no such thing.
extension RangeAllocator {
  /// Stops allocating from a chunk. What is allocated there stays, and can be freed.
  ///
  /// The chunk's free bytes are not ``available`` any more. Draining twice is draining once.
  /// - Parameter start: the chunk's first address.
  /// - Throws: `noSuchAddress` when no chunk starts there, `destroyed`, `forked`.
  /// - Complexity: O(chunks).
  public func drain(chunkAt start: Address<Space>) throws(Failure) {
    try move(chunkAt: start, from: .open, to: .draining)
  }

  /// Allocates from a drained chunk again.
  /// - Throws: as ``drain(chunkAt:)``.
  /// - Complexity: O(chunks).
  public func undrain(chunkAt start: Address<Space>) throws(Failure) {
    try move(chunkAt: start, from: .draining, to: .open)
  }

  /// Takes a chunk out of the pool and lets go of its memory.
  ///
  /// Nobody may use the memory any more when it is let go of: with `losingAllocations` it is for
  /// the caller to see to that. Frees of what was lost throw `gone`, until another chunk is added
  /// there; of a thousand removed ranges apart from each other the lowest are forgotten.
  /// - Parameters:
  ///   - start: the chunk's first address.
  ///   - losingAllocations: whether it is removed with allocations in it.
  /// - Returns: the bytes that were still allocated.
  /// - Throws: `outstanding` with what is still allocated, unless that may be lost: then nothing
  ///   has changed, and ``holdings`` says whose it is if it was tagged. `noSuchAddress` when no
  ///   chunk starts there, `destroyed`, `forked`.
  /// - Complexity: O(chunks).
  @discardableResult
  public func remove(
    chunkAt start: Address<Space>, losingAllocations: Bool = false
  ) throws(Failure) -> ByteCount {
    guard !forkGuard.isForked else { throw .forked }
    let (held, backing) = try state.withLock { (state) throws(Failure) in
      let chunk = try find(start)
      let range = AddressRange(start: AnyAddress(start), size: chunk.pointee.size)
      return try chunk.pointee.state.withLock { (chunkState) throws(Failure) in
        guard let empty = RunIndex<NativeShape>(count: GranuleCount(0), origin: 0) else {
          throw .noMemory
        }
        let held = chunk.pointee.held
        guard losingAllocations || held == .zero else { throw .outstanding(held) }
        list.beginChange()
        state.removedAllocations += chunkState.allocations
        state.removedFrees += chunkState.frees
        let backing = chunk.pointee.retire(leaving: empty, in: &chunkState)
        list.remove(chunk, start: AnyAddress(start), &state.books)
        state.caches.noteChange()
        if let range { state.removed.insert(range) }
        return (held, backing)
      }
    }
    // Let go of after the locks: its end runs code of others.
    withExtendedLifetime(backing) {}
    return held
  }

  private func move(
    chunkAt start: Address<Space>, from old: ChunkPhase, to new: ChunkPhase
  ) throws(Failure) {
    guard !forkGuard.isForked else { throw .forked }
    try state.withLock { (state) throws(Failure) in
      let chunk = try find(start)
      chunk.pointee.state.withLock { state in
        _ = chunk.pointee.phase.compareExchange(
          expected: old, desired: new, ordering: .relaxed)
        chunk.pointee.publishAllRuns(&state)
      }
      state.caches.noteChange()
    }
  }

  /// The chunk that starts at an address. The pool's lock is held.
  private func find(_ start: Address<Space>) throws(Failure) -> ChunkReference {
    try refuseIfDestroyed()
    var found: ChunkReference?
    list.forEach { if $0.pointee.start == AnyAddress(start) { found = $0 } }
    guard let found else { throw .noSuchAddress(start) }
    return found
  }
}
