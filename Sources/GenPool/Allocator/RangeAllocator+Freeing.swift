import Synchronization

extension RangeAllocator {
  /// Gives an allocation back, whole. The kernel's `gen_pool_free` and `gen_pool_free_owner`.
  /// - Returns: the owner of its chunk.
  /// - Throws: as ``free(_:size:)``.
  @discardableResult
  public func free(_ allocation: Allocation) throws(Failure) -> Owner? {
    try free(allocation.start, size: allocation.size)
  }

  /// Frees a range, which may be part of an allocation or span neighbours in one chunk: all of its
  /// granules must be allocated, that is all. The kernel's `gen_pool_free` and
  /// `gen_pool_free_owner`.
  ///
  /// - Parameters:
  ///   - start: rounded down to its granule.
  ///   - size: rounded up to granules; 0 frees nothing.
  /// - Returns: the owner of the chunk.
  /// - Throws: `noSuchAddress`, `pastChunkEnd`, `notAllocated`, `gone`, `destroyed`, `forked`.
  /// - Complexity: O(chunks + granules / 64).
  @discardableResult
  public func free(_ start: Address<Space>, size: ByteCount) throws(Failure) -> Owner? {
    try freeQuickly(start, size)
  }

  /// The same, for the forms that are compiled for one space.
  @inline(__always)
  func freeQuickly(_ start: Address<Space>, _ size: ByteCount) throws(Failure) -> Owner? {
    // Most calls: some granules in a chunk that is there.
    guard !forkGuard.isForked, let chunk = list.likelyChunk(at: AnyAddress(start)) else {
      return try freeElsewhere(start, size)
    }
    let life = chunk.pointee.life.load(ordering: .acquiring)
    guard let run = chunk.pointee.runInside(AnyAddress(start), size) else {
      return try freeElsewhere(start, size)
    }
    let freed = try chunk.pointee.state.withLock { (state) throws(Failure) -> Freed? in
      guard chunk.pointee.life.load(ordering: .relaxed) == life else { return nil }
      if !chunk.pointee.freeInsideBlock(run, in: &state) {
        guard !chunk.pointee.isRemoved else { return nil }
        try free(run, in: &state, of: chunk, from: start)
      }
      return Freed(owner: state.owner)
    }
    guard let freed else { return try freeElsewhere(start, size) }
    return freed.owner
  }

  /// The answer of a free.
  private struct Freed {
    let owner: Owner?
  }

  /// Frees, or finds out why not. The chunk's lock is held.
  @inline(never)
  private func free(
    _ run: GranuleRun, in state: inout ChunkStorage.State, of chunk: ChunkReference,
    from start: Address<Space>
  ) throws(Failure) {
    try refuseUnlessAllocated(run, in: state, of: chunk, from: start)
    if run.count.rawValue > 0 { chunk.pointee.free(run, in: &state) }
  }

  /// Frees with the allocator's lock held, or finds out why it cannot be freed.
  @inline(never)
  func freeElsewhere(
    _ start: Address<Space>, _ size: ByteCount
  ) throws(Failure) -> Owner? {
    try withRun(start, size) { (chunk, run, state) throws(Failure) in
      try free(run, in: &state, of: chunk, from: start)
      return state.owner
    }
  }

  /// Runs `body` with the chunk and the granules of a range that is to be changed, the chunk's lock
  /// held and the allocator's as well: none comes or goes.
  @inline(never)
  func withRun<Result>(
    _ start: Address<Space>, _ size: ByteCount,
    _ body: (ChunkReference, GranuleRun, inout ChunkStorage.State) throws(Failure) ->
      Result
  ) throws(Failure) -> Result {
    guard !forkGuard.isForked else { throw .forked }
    return try state.withLock { (all) throws(Failure) in
      let (chunk, run) = try locate(start, size, all)
      return try chunk.pointee.state.withLock { (state) throws(Failure) in
        try body(chunk, run, &state)
      }
    }
  }

  /// The chunk and the granules of a range that is to be changed. The allocator's lock is held.
  func locate(
    _ start: Address<Space>, _ size: ByteCount, _ all: borrowing State
  ) throws(Failure) -> (ChunkReference, GranuleRun) {
    guard let chunk = list.chunk(at: AnyAddress(start)) else {
      try refuseIfDestroyed()
      throw all.removed.contains(AnyAddress(start)) ? .gone(start) : .noSuchAddress(start)
    }
    guard size <= chunk.pointee.size - chunk.pointee.offset(of: AnyAddress(start)) else {
      try refuseIfDestroyed()
      throw .pastChunkEnd(start, size)
    }
    return (chunk, chunk.pointee.run(AnyAddress(start), size))
  }

  /// Throws unless all of `run`, which is from `start` on, is allocated, held by no cache, and the
  /// chunk still there: no cache's then. Its lock is held.
  @inline(__always)
  func refuseUnlessAllocated(
    _ run: GranuleRun, in state: borrowing ChunkStorage.State,
    of chunk: ChunkReference,
    from start: Address<Space>
  ) throws(Failure) {
    switch chunk.pointee.phase.load(ordering: .relaxed) {
    case .open, .draining: break
    case .removed:
      try refuseIfDestroyed()
      throw .gone(start)
    case .closed: throw .destroyed
    }
    if let free = state.index.bitmap.firstFree(in: run) {
      throw .notAllocated(Address(chunk.pointee.address(of: free)))
    }
    if state.slabs.count > 0 {
      if let held = state.slabs.firstHeld(in: run) {
        throw .notAllocated(Address(chunk.pointee.address(of: held)))
      }
      state.slabs.disown(run)
    }
  }
}
