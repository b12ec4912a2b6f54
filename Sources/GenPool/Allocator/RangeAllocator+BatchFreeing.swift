import Synchronization

/// Many frees in one call.
extension RangeAllocator {
  /// Frees allocations, or parts of them, or nothing.
  ///
  /// Each is a range as for ``free(_:size:)``, in any order and in any chunks. Other threads find
  /// all of them free or none, unless they took one meanwhile. What was allocated side by side and
  /// stands side by side in the batch is freed as one range.
  ///
  /// - Throws: the error of the first that cannot be freed, as ``free(_:size:)``: `notAllocated`
  ///   for one that is in the batch twice. Nothing has changed then.
  /// - Complexity: O(allocations + freed granules / 64 + rows side by side × log granules) where
  ///   all are in one chunk; O(allocations × chunks + …) otherwise.
  public func free(contentsOf allocations: [Allocation]) throws(Failure) {
    try freeArray(allocations)
  }

  /// Frees as ``free(contentsOf:)-([Allocation])`` does.
  public func free(contentsOf allocations: some Sequence<Allocation>) throws(Failure) {
    try freeArray(Array(allocations))
  }

  /// The same, for the forms that are compiled for one space.
  @inline(__always)
  func freeArray(_ allocations: [Allocation]) throws(Failure) {
    try freeBatch(allocations.count) { number in
      (allocations[number].start, allocations[number].size)
    }
  }

  /// Frees `count` ranges, or nothing.
  @inline(__always)
  func freeBatch(
    _ count: Int, _ range: (Int) -> (start: Address<Space>, size: ByteCount)
  ) throws(Failure) {
    guard count > 0 else { return }
    guard !forkGuard.isForked else { throw .forked }
    let (first, last) = (AnyAddress(range(0).start), AnyAddress(range(count &- 1).start))
    if let chunk = list.likelyChunk(at: first), chunk.pointee.contains(last),
      chunk.pointee.free(count, { (AnyAddress(range($0).start), range($0).size) })
    {
      return
    }
    try freeInSeveralChunks(count, range)
  }

  /// Frees with the locks of the allocator and of all chunks involved, or finds out which range
  /// cannot be freed.
  @inline(__always)
  private func freeInSeveralChunks(
    _ count: Int, _ range: (Int) -> (start: Address<Space>, size: ByteCount)
  ) throws(Failure) {
    try state.withLock { (all) throws(Failure) in
      var held = HeldChunks(defaultFit: all.fit)
      defer { held.release() }
      var done = 0
      do throws(Failure) {
        while done < count {
          let (start, size) = range(done)
          let (chunk, run) = try locate(start, size, all)
          let part = held.hold(chunk)
          try refuseUnlessAllocated(run, in: chunk.pointee.state.value, of: chunk, from: start)
          if run.count.rawValue > 0 { chunk.pointee.state.withValue { $0.index.free(run) } }
          held.count(run.count.rawValue > 0 ? 1 : 0, granules: run.count.rawValue, in: part)
          done += 1
        }
      } catch {
        for number in 0..<done { takeBack(range(number)) }
        throw error
      }
      if held.parts.contains(where: { $0.chunk.pointee.state.value.isTagged }) {
        for number in 0..<done { untag(range(number)) }
      }
      for part in held.parts {
        part.chunk.pointee.state.withValue { state in
          part.chunk.pointee.noteFrees(part.times, of: GranuleCount(part.granules), in: &state)
        }
      }
    }
  }

  /// Marks a range as allocated again, of which a batch that is undone had freed all. The locks of
  /// its chunk and of the allocator are held.
  private func takeBack(_ range: (start: Address<Space>, size: ByteCount)) {
    guard range.size > .zero, let chunk = list.chunk(at: AnyAddress(range.start)) else { return }
    let run = chunk.pointee.run(AnyAddress(range.start), range.size)
    chunk.pointee.state.withValue { $0.index.allocate(run) }
  }

  /// Forgets whose a range was. The locks of its chunk and of the allocator are held.
  private func untag(_ range: (start: Address<Space>, size: ByteCount)) {
    guard let chunk = list.chunk(at: AnyAddress(range.start)), chunk.pointee.state.value.isTagged
    else { return }
    let run = chunk.pointee.run(AnyAddress(range.start), range.size)
    chunk.pointee.state.withValue { $0.tag(run, as: nil) }
  }
}

extension ChunkStorage {
  /// Frees `count` ranges, if all are whole granules of this chunk and allocated; otherwise false,
  /// and nothing has changed. Takes the lock.
  @inline(__always)
  func free(_ count: Int, _ range: (Int) -> (start: AnyAddress, size: ByteCount)) -> Bool {
    state.withLock { state in
      // Whatever chunk this is by now: its addresses are looked at under the lock.
      guard isInUse, state.slabs.count == 0 else { return false }
      var pending = PendingFrees()
      var granules = 0
      var rows = 0
      let isDone = forEachRow(count, range) { run in
        guard state.index.free(run, &pending) else { return false }
        granules &+= run.count.rawValue
        rows &+= 1
        return true
      }
      state.index.flush(&pending)
      guard isDone else {
        takeBack(rows, of: count, range, in: &state)
        return false
      }
      if state.isTagged {
        _ = forEachRow(count, range) { run in
          state.tag(run, as: nil)
          return true
        }
      }
      noteFrees(count, of: GranuleCount(granules), in: &state)
      return true
    }
  }

  /// Marks the first `rows` rows of a batch as allocated again. Their granules are free, because
  /// the batch freed them.
  @inline(never)
  private func takeBack(
    _ rows: Int, of count: Int, _ range: (Int) -> (start: AnyAddress, size: ByteCount),
    in state: inout State
  ) {
    var left = rows
    _ = forEachRow(count, range) { run in
      guard left > 0 else { return false }
      left -= 1
      state.index.allocate(run)
      return true
    }
  }

  /// Visits the granules of `count` ranges, those of neighbours that stand side by side as one run,
  /// until `body` returns false; false then, and when a range is not whole granules of this chunk.
  @inline(__always)
  private func forEachRow(
    _ count: Int, _ range: (Int) -> (start: AnyAddress, size: ByteCount),
    _ body: (GranuleRun) -> Bool
  ) -> Bool {
    let start = self.start.rawValue
    let order = UInt64(granule.order)
    let granules = granules.rawValue
    var first = 0
    var end = 0
    for number in 0..<count {
      let (address, size) = range(number)
      let next = Int(truncatingIfNeeded: (address.rawValue &- start) &>> order)
      // 0 bytes wrap to more granules than any chunk has.
      let last = (size.rawValue &- 1) &>> order
      guard address.rawValue >= start, next < granules,
        last < UInt64(truncatingIfNeeded: granules &- next),
        // A single free refuses what ends behind the chunk within a granule.
        size <= self.size - offset(of: address)
      else { return false }
      let length = Int(truncatingIfNeeded: last) &+ 1
      if next == end, end > first {
        end = next &+ length
        continue
      }
      if end > first,
        !body(GranuleRun(first: GranuleIndex(first), count: GranuleCount(end &- first)))
      {
        return false
      }
      (first, end) = (next, next &+ length)
    }
    return body(GranuleRun(first: GranuleIndex(first), count: GranuleCount(end &- first)))
  }
}
