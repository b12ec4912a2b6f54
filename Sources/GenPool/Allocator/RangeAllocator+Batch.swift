import Synchronization

/// Many allocations in one call: the places are those of as many single calls, one after another
/// with no other thread's between.
extension RangeAllocator {
  /// Allocates `count` times `size` bytes, each rounded up to granules, or nothing.
  ///
  /// The places are those that `count` calls of ``allocate(_:fit:)`` would find, in their order.
  /// Other threads find all of them allocated or none: one lock is held for a batch that fits into
  /// one chunk, and those of all chunks involved otherwise.
  ///
  /// - Parameters:
  ///   - count: 0 or more; for 0 nothing is done. Traps below 0.
  ///   - size: of each, in bytes, at least 1.
  ///   - fit: how each place is chosen; the pool's own when nil.
  /// - Returns: `count` allocations, each of which is freed as any other, alone or in a batch.
  /// - Throws: the error of the call that would have failed, as ``allocate(_:fit:)``: the bytes
  ///   free in it are those beside the places found until then. They are free again.
  /// - Complexity: O(chunks + allocated granules / 64 + rows of places side by side × log granules)
  ///   by the first fit; as `count` calls by the others, but one lock for each chunk.
  public func allocate(
    count: Int, of size: ByteCount, fit: Fit? = nil
  ) throws(Failure) -> [Allocation] {
    try allocateArray(count, of: size, fit: fit)
  }

  /// The same, for the forms that are compiled for one space.
  @inline(__always)
  func allocateArray(
    _ count: Int, of size: ByteCount, fit: Fit?
  ) throws(Failure) -> [Allocation] {
    guard try checkBatch(count, of: size, fit: fit) else { return [] }
    if let (chunk, request, indexed) = chunkForAll(count, of: size, fit: fit) {
      let allocations = unsafe [Allocation](unsafeUninitializedCapacity: count) { buffer, end in
        // SAFETY: written from 0 on to `count`, the capacity, and read where it was written.
        let isDone = chunk.pointee.allocate(request, times: count, by: indexed) {
          (done, start, step, times, owner) in
          for number in 0..<times {
            let start = Address<Space>(start.rawValue &+ step &* UInt64(truncatingIfNeeded: number))
            unsafe buffer.initializeElement(
              at: done &+ number, to: Allocation(start: start, size: size, owner: owner))
          }
        } start: { number in
          unsafe AnyAddress(buffer[number].start)
        }
        end = isDone ? count : 0
      }
      if allocations.count == count { return allocations }
    }
    var allocations: [Allocation] = []
    try allocateInSeveralChunks(count, of: size, fit: fit) { (_, start, step, times, owner) in
      for number in 0..<times {
        allocations.append(
          Allocation(
            start: Address(start.rawValue + step * UInt64(number)), size: size, owner: owner))
      }
    } start: { number in
      AnyAddress(allocations[number].start)
    }
    return allocations
  }

  /// Allocates as ``allocate(count:of:fit:)`` does, and writes the addresses to `addresses`. When
  /// it throws, what it wrote there means nothing.
  // SAFETY: the caller has room for `count` addresses there.
  @inline(__always)
  @unsafe
  func allocateAddresses(
    _ count: Int, of size: ByteCount, fit: Fit?, into addresses: UnsafeMutablePointer<UInt>
  ) throws(Failure) {
    guard try checkBatch(count, of: size, fit: fit) else { return }
    func put(_ done: Int, _ start: AnyAddress, _ step: UInt64, _ times: Int, _: Owner?) {
      for number in 0..<times {
        unsafe addresses[done &+ number] = UInt(
          truncatingIfNeeded: start.rawValue &+ step &* UInt64(truncatingIfNeeded: number))
      }
    }
    func start(_ number: Int) -> AnyAddress { unsafe AnyAddress(UInt64(addresses[number])) }
    if let (chunk, request, indexed) = chunkForAll(count, of: size, fit: fit),
      chunk.pointee.allocate(request, times: count, by: indexed, put, start: start)
    {
      return
    }
    try allocateInSeveralChunks(count, of: size, fit: fit, put, start: start)
  }

  /// Whether there is anything to do.
  @inline(__always)
  private func checkBatch(
    _ count: Int, of size: ByteCount, fit: Fit?
  ) throws(Failure) -> Bool {
    precondition(count >= 0, "a batch of less than 0")
    guard count > 0 else { return false }
    guard size > .zero else { throw .emptyRequest }
    guard !forkGuard.isForked else { throw .forked }
    if fit?.isRefused == true { throw .alignmentIsZero }
    return true
  }

  /// The newest chunk that may serve, if it may serve all of a batch and the index finds the fit's
  /// places, with what is asked of it. Found out without its lock.
  @inline(__always)
  private func chunkForAll(
    _ count: Int, of size: ByteCount, fit: Fit?
  ) -> (ChunkReference, ChunkRequest, IndexedFit)? {
    guard let indexed = indexedFit(fit) else { return nil }
    let request = request(size, fit: indexed)
    guard let chunk = list.first(serving: request, { $0.pointee.mayServe(request) ? $0 : nil })
    else { return nil }
    let (bytes, overflows) = granule.bytes(request.count).rawValue.multipliedReportingOverflow(
      by: UInt64(truncatingIfNeeded: count))
    guard !overflows, bytes <= chunk.pointee.available.load(ordering: .relaxed) else { return nil }
    return (chunk, request, indexed)
  }

  /// Allocates with the locks of the allocator and of all chunks involved, or finds out why not all
  /// of the batch has a place.
  ///
  /// - Parameters:
  ///   - put: called with how many places were found before, the first address of a row of places,
  ///     their distance, their number and the chunk's owner.
  ///   - start: the address of a place that was found.
  @inline(__always)
  private func allocateInSeveralChunks(
    _ count: Int, of size: ByteCount, fit: Fit?,
    _ put: (Int, AnyAddress, UInt64, Int, Owner?) -> Void, start: (Int) -> AnyAddress
  ) throws(Failure) {
    var warnings: [Warning] = []
    let failure = state.withLock { (all) -> Failure? in
      if isDestroyed.load(ordering: .relaxed) { return .destroyed }
      var held = HeldChunks(defaultFit: all.fit)
      defer { held.release() }
      var done = 0
      var failure: Failure?
      do throws(Failure) {
        if let indexed = indexedFit(fit) {
          place(count, request(size, fit: indexed), by: indexed, &held, &done, put)
        } else {
          try place(count, request(size, fit: fit), by: fit, &held, &done, &warnings, put)
        }
        if done < count { failure = self.failure(size, fit: fit, after: held) }
      } catch {
        failure = error
      }
      if failure != nil {
        for number in 0..<done { unplace(start(number), size) }
      }
      for part in held.parts {
        part.chunk.pointee.state.withValue { state in
          if failure == nil, part.times > 0 {
            part.chunk.pointee.noteAllocations(
              part.times, of: GranuleCount(part.granules), in: &state)
          } else {
            // The search may have found out what there is not.
            part.chunk.pointee.publishRuns(&state)
          }
        }
      }
      return failure
    }
    if let warn { for warning in warnings { warn(warning) } }
    if let failure { throw failure }
  }

  /// Places a batch by a fit whose places the index finds. A chunk without a place has none for the
  /// rest of the batch either: it is asked once.
  @inline(__always)
  private func place(
    _ count: Int, _ request: ChunkRequest, by fit: IndexedFit, _ held: inout HeldChunks,
    _ done: inout Int, _ put: (Int, AnyAddress, UInt64, Int, Owner?) -> Void
  ) {
    let step = granule.bytes(request.count).rawValue
    _ = list.first(serving: request) { (chunk) -> Void? in
      guard chunk.pointee.mayServe(request) else { return nil }
      let part = held.hold(chunk)
      guard chunk.pointee.isOpen else { return nil }
      let owner = chunk.pointee.state.value.owner
      let left = count - done
      let taken = chunk.pointee.state.withValue { state in
        state.index.allocate(request.count, times: left, by: fit, granule) { first, times in
          put(done, chunk.pointee.address(of: first), step, times, owner)
          done += times
        }
      }
      held.count(taken, granules: taken * request.count.rawValue, in: part)
      return done == count ? () : nil
    }
  }

  /// Places a batch by a fit that scans: each place is looked for from the newest chunk on, as an
  /// own algorithm may find one where it found none before.
  @inline(__always)
  private func place(
    _ count: Int, _ request: ChunkRequest, by fit: Fit?, _ held: inout HeldChunks,
    _ done: inout Int, _ warnings: inout [Warning],
    _ put: (Int, AnyAddress, UInt64, Int, Owner?) -> Void
  ) throws(Failure) {
    let step = granule.bytes(request.count).rawValue
    while done < count {
      let found = try list.first(serving: request) { (chunk) throws(Failure) -> Bool? in
        if let available = held.available(chunk) {
          guard request.size.rawValue <= available else { return nil }
        } else {
          guard chunk.pointee.mayServe(request) else { return nil }
        }
        let part = held.hold(chunk)
        guard chunk.pointee.isOpen else { return nil }
        var warning: Warning?
        let place = try chunk.pointee.state.withValue { (state) throws(Failure) -> GranuleIndex? in
          try self.place(
            request.count, fit: fit, within: nil, in: &state, of: chunk, warning: &warning)
        }
        if let warning { warnings.append(warning) }
        guard let place else { return nil }
        let run = GranuleRun(first: place, count: request.count)
        chunk.pointee.state.withValue { $0.index.allocate(run) }
        held.count(1, granules: request.count.rawValue, in: part)
        put(
          done, chunk.pointee.address(of: place), step, 1, chunk.pointee.state.value.owner)
        return true
      }
      guard found == true else { return }
      done += 1
    }
  }

  /// Takes a place back that was found in a chunk whose lock is held. The allocator's is, too.
  private func unplace(_ start: AnyAddress, _ size: ByteCount) {
    guard let chunk = list.chunk(at: start) else {
      preconditionFailure("a place that was found is in a chunk")
    }
    let run = chunk.pointee.run(start, size)
    chunk.pointee.state.withValue { $0.index.free(run) }
  }
}

extension ChunkStorage {
  /// Allocates `times` times what is asked for, or nothing. Takes the lock.
  ///
  /// - Parameters:
  ///   - put: called with how many places were found before, the first address of a row of places,
  ///     their distance, their number and the owner.
  ///   - start: the address of a place that was found.
  /// - Returns: whether there was a place for all.
  @inline(__always)
  func allocate(
    _ request: ChunkRequest, times: Int, by fit: IndexedFit,
    _ put: (Int, AnyAddress, UInt64, Int, Owner?) -> Void, start: (Int) -> AnyAddress
  ) -> Bool {
    let step = granule.bytes(request.count).rawValue
    return state.withLock { state in
      guard isOpen else { return false }
      let owner = state.owner
      var done = 0
      let taken = state.index.allocate(request.count, times: times, by: fit, granule) {
        first, times in
        put(done, address(of: first), step, times, owner)
        done &+= times
      }
      guard taken == times else {
        // Nothing was published: other threads see what they saw before.
        for number in 0..<taken { state.index.free(run(start(number), request.size)) }
        publishRuns(&state)
        return false
      }
      noteAllocations(times, of: GranuleCount(times &* request.count.rawValue), in: &state)
      return true
    }
  }
}
