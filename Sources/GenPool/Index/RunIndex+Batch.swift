/// Many allocations and frees at a time: the places are those of one after another, and the trees
/// are brought up to date once for what lies side by side.
extension RunIndex {
  /// Allocates `count` granules by the first fit, as often as `times` or until there is no place.
  ///
  /// - Parameters:
  ///   - count: at least 1.
  ///   - put: called for each row of places side by side, in the order of single allocations, with
  ///     the first and their number.
  /// - Returns: how many times there was a place.
  /// - Complexity: O(rows × log granules + allocated granules / 64).
  @inline(__always)
  package mutating func allocateFirstFit(
    _ count: GranuleCount, times: Int, _ put: (GranuleIndex, Int) -> Void
  ) -> Int {
    let length = count.rawValue
    var left = times
    while left > 0 {
      if !front.isActive, length <= Shape.block, !isByLength, !hasAligned {
        let (taken, endedRuns, longRunBlock) = places.reach.takeFirst(
          length, times: left, in: &bitmap
        ) { first, times in put(GranuleIndex(first), times) }
        left &-= taken
        runCount &-= endedRuns
        guard let longRunBlock else { break }
        left &-= allocateRow(length, left, fromRunAt: runs.start(of: longRunBlock, in: bitmap), put)
      } else {
        guard let start = startForFirstFit(length) else { break }
        left &-= allocateRow(length, left, fromRunAt: start, put)
      }
    }
    return times &- left
  }

  /// Allocates the run of `count` granules that a fit chooses, as often as `times` or until there
  /// is none; see ``allocateFirstFit(_:times:_:)``.
  @inline(__always)
  package mutating func allocate(
    _ count: GranuleCount, times: Int, by fit: IndexedFit, _ granule: GranuleSize,
    _ put: (GranuleIndex, Int) -> Void
  ) -> Int {
    switch (fit, fit.alignment(of: count, granule)) {
    case (.first, _), (.aligned, nil), (.orderAligned, nil):
      return allocateFirstFit(count, times: times, put)
    case (.aligned, _), (.orderAligned, _), (.best, _), (.fixed, _): break
    }
    for done in 0..<times {
      guard let first = allocate(count, by: fit, granule) else { return done }
      put(first, 1)
    }
    return times
  }

  /// The start of the lowest free run of at least `length` granules; nil when there is none.
  @inline(never)
  private mutating func startForFirstFit(_ length: Int) -> Int? {
    if let start = front.place(length) { return start }
    return firstFit(GranuleCount(length))?.rawValue
  }

  /// Allocates `length` granules from a free run's start on as often as `times` or until the run
  /// ends; how often that was, at least once. `start`: that of the run, which is long enough for
  /// one.
  @inline(never)
  private mutating func allocateRow(
    _ length: Int, _ times: Int, fromRunAt start: Int, _ put: (GranuleIndex, Int) -> Void
  ) -> Int {
    let free = front.isActive ? front.end &- start : lengthOfRun(from: start)
    let count = min(times, free / length)
    let run = GranuleRun(first: GranuleIndex(start), count: GranuleCount(count &* length))
    allocate(run)
    put(run.first, count)
    return count
  }

  /// The length of the free run that starts at `start`. There is no front.
  private func lengthOfRun(from start: Int) -> Int {
    let free = bitmap.freeCount(from: start)
    return free < Shape.block ? free : runs.end(ofRunFrom: start) &- start
  }

  // MARK: Freeing

  /// Marks a run as free, maybe later: ``flush(_:)`` brings the index up to date. False when not
  /// all of it is allocated; then nothing has changed. The run lies in the map, and has at least
  /// one granule.
  ///
  /// - Parameter pending: the granules that are to be free but are not yet in the index.
  /// - Complexity: as a free, but constant time in a block that the run before lies in, too.
  @inline(__always)
  package mutating func free(_ run: GranuleRun, _ pending: inout PendingFrees) -> Bool {
    let first = run.first.rawValue
    let count = run.count.rawValue
    let block = first &>> Shape.blockOrder
    let position = first & (Shape.block &- 1)
    guard count <= Shape.block &- position, !isByLength, !hasAligned, !front.isActive else {
      return freeAtOnce(run, &pending)
    }
    let bits =
      (~0 &>> UInt64(truncatingIfNeeded: 64 &- count)) &<< UInt64(truncatingIfNeeded: position)
    let word = first &>> 6
    let shift = UInt64(truncatingIfNeeded: first & 63 &- position)
    guard ~bitmap.storedWord(word) &>> shift & bits == 0 else { return false }
    if block != pending.block {
      flush(&pending)
      pending.block = block
    }
    guard pending.bits & bits == 0 else { return false }
    pending.bits |= bits
    return true
  }

  @inline(never)
  private mutating func freeAtOnce(_ run: GranuleRun, _ pending: inout PendingFrees) -> Bool {
    flush(&pending)
    guard bitmap.firstFree(in: run) == nil else { return false }
    if !freeInsideBlock(run) { free(run) }
    return true
  }

  /// Brings the index up to date with what is to be free.
  @inline(__always)
  package mutating func flush(_ pending: inout PendingFrees) {
    guard pending.bits != 0 else { return }
    let (block, bits) = (pending.block, pending.bits)
    pending = PendingFrees()
    free(bits, inBlock: block)
  }

  /// Marks granules of one block as free, bit i for granule i; at least one, and all are allocated.
  /// Nothing but the reach is to be kept up where only short runs change.
  @inline(never)
  private mutating func free(_ bits: UInt64, inBlock block: Int) {
    let start = block &<< Shape.blockOrder
    let (word, shift) = (start &>> 6, start & 63)
    let every = Shape.everyPosition
    let old = ~bitmap.storedWord(word) &>> UInt64(truncatingIfNeeded: shift) & every
    let new = old | bits
    let taken = ~new & every
    // The free granules at either end of the block, and right outside.
    let prefix = taken.trailingZeroBitCount
    let suffix = taken.leadingZeroBitCount &+ Shape.block &- 64
    let before = bitmap.freeCount(before: start)
    let behind = bitmap.freeCount(from: start &+ Shape.block)
    let prefixGrows = bits & (taken &- 1) & ~taken != 0
    let suffixGrows =
      bits &>> UInt64(truncatingIfNeeded: 63 &- taken.leadingZeroBitCount) != 0
    if front.isActive || taken == 0 || prefixGrows && before &+ prefix >= Shape.block
      || suffixGrows && suffix &+ behind >= Shape.block
    {
      return freeOneByOne(bits, from: start)
    }
    let carry: UInt64 = before > 0 ? 1 : 0
    let starts = { (free: UInt64) in (free & ~(free &<< 1 | carry)).nonzeroBitCount }
    let lastBit: UInt64 = 1 &<< UInt64(truncatingIfNeeded: Shape.block &- 1)
    runCount &+= starts(new) &- starts(old) &- (behind > 0 && bits & lastBit != 0 ? 1 : 0)
    bitmap.free(bits, inWord: word, from: shift)
    places.reach.raise(block, to: FreeBlock<Shape>(block, in: bitmap).reach)
    if prefixGrows, before > 0 { places.reach.raise(block &- 1, to: before &+ prefix) }
  }

  /// The same run by run: a long one is made or grows, or a block before left a front.
  @inline(never)
  private mutating func freeOneByOne(_ bits: UInt64, from start: Int) {
    var bits = bits
    while bits != 0 {
      let first = bits.trailingZeroBitCount
      let count = (~(bits &>> UInt64(truncatingIfNeeded: first))).trailingZeroBitCount
      free(GranuleRun(first: GranuleIndex(start &+ first), count: GranuleCount(count)))
      bits &= first &+ count < 64 ? ~0 &<< UInt64(truncatingIfNeeded: first &+ count) : 0
    }
  }
}

/// Granules of one block that are to be free, bit i for granule i, and that the index does not have
/// as free yet: all are allocated in the bitmap.
package struct PendingFrees {
  fileprivate var block = -1
  fileprivate var bits: UInt64 = 0

  package init() {}
}
