import Synchronization

extension Pool {
  /// Gives an allocation back, whole. The kernel's `gen_pool_free` and `gen_pool_free_owner`.
  /// - Returns: the owner of its chunk.
  /// - Throws: as ``free(_:size:)``.
  @discardableResult
  public func free(_ allocation: Allocation) throws(PoolError) -> Owner? {
    try free(allocation.start, size: allocation.size)
  }

  /// Gives an allocation back, whole.
  @discardableResult
  public func free(_ allocation: DMAAllocation) throws(PoolError) -> Owner? {
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
  public func free(_ start: VirtualAddress, size: ByteCount) throws(PoolError) -> Owner? {
    // Most calls: some granules in a chunk that is there.
    guard !forkGuard.isForked, let chunk = list.chunkEver(at: start),
      let run = chunk.pointee.runInside(start, size)
    else { return try freeElsewhere(start, size) }
    return try chunk.pointee.state.withLock { (state) throws(PoolError) in
      if !chunk.pointee.freeInsideBlock(run, in: &state) {
        try free(run, in: &state, of: chunk, from: start)
      }
      return chunk.pointee.owner
    }
  }

  /// Frees, or finds out why not. The chunk's lock is held.
  @inline(never)
  private func free(
    _ run: GranuleRun, in state: inout ChunkStorage.State, of chunk: ChunkReference,
    from start: VirtualAddress
  ) throws(PoolError) {
    try refuseUnlessAllocated(run, in: state, of: chunk, from: start)
    if run.count.rawValue > 0 { chunk.pointee.free(run, in: &state) }
  }

  /// Frees nothing, or finds out why it cannot be freed.
  @inline(never)
  private func freeElsewhere(
    _ start: VirtualAddress, _ size: ByteCount
  ) throws(PoolError) -> Owner? {
    let (chunk, run) = try locate(start, size)
    return try chunk.pointee.state.withLock { (state) throws(PoolError) in
      try free(run, in: &state, of: chunk, from: start)
      return chunk.pointee.owner
    }
  }

  /// The chunk and the granules of a range that is to be changed.
  @inline(__always)
  func locate(
    _ start: VirtualAddress, _ size: ByteCount
  ) throws(PoolError) -> (ChunkReference, GranuleRun) {
    guard !forkGuard.isForked else { throw .forked }
    guard let chunk = list.chunk(at: start) else {
      try refuseIfDestroyed()
      if let chunk = list.chunkEver(at: start), chunk.pointee.isRemoved { throw .gone(start) }
      throw .noSuchAddress(start)
    }
    let offset = chunk.pointee.offset(of: start)
    guard size <= chunk.pointee.size - offset else {
      try refuseIfDestroyed()
      throw .pastChunkEnd(start, size)
    }
    return (chunk, chunk.pointee.run(start, size))
  }

  /// Throws unless all of `run`, which is from `start` on, is allocated and the chunk still there. Its
  /// lock is held.
  @inline(__always)
  func refuseUnlessAllocated(
    _ run: GranuleRun, in state: borrowing ChunkStorage.State, of chunk: ChunkReference,
    from start: VirtualAddress
  ) throws(PoolError) {
    switch chunk.pointee.phase.load(ordering: .relaxed) {
    case .open, .draining: break
    case .removed:
      try refuseIfDestroyed()
      throw .gone(start)
    case .closed: throw .destroyed
    }
    if let free = state.index.bitmap.firstFree(in: run) {
      throw .notAllocated(chunk.pointee.address(of: free))
    }
  }
}
