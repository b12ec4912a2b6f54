/// The first fit many times over: a node of the tree is searched once for all the blocks below it,
/// and those above it are brought up to date once.
extension ReachTree {
  /// Takes the lowest `length` granules that are free in a row, as often as `times`, where every
  /// granule is a place; stops at a run of a block's length or more, whose end this tree does not
  /// have. `length` is 1 to a block's length.
  ///
  /// The places are those of one search after another. The lowest block that has one is also the
  /// block in which the free run around it starts. So the runs of a block, from the lowest, give as
  /// many places as fit into them, and then no block up to this one has any.
  ///
  /// - Parameter put: called for each row of places side by side, with the first and their number,
  ///   ascending.
  /// - Returns: the number taken, the number of free runs that were taken to their end, and the
  ///   block in which a run of a block's length or more starts that has the next place.
  @inline(__always)
  mutating func takeFirst(
    _ length: Int, times: Int, in bitmap: inout GranuleBitmap, _ put: (Int, Int) -> Void
  ) -> (taken: Int, endedRuns: Int, longRunBlock: Int?) {
    let most = Self.nothing &- UInt8(truncatingIfNeeded: length)
    var left = times
    var endedRuns = 0
    while left > 0, let lowest = firstLeaf(length) {
      let node = tree.node(over: lowest)
      let first = tree.firstLeaf(under: node)
      var leaves = Shape.within(most, in: bytes(of: node))
      var longRunBlock: Int?
      repeat {
        let child = leaves.trailingZeroBitCount
        leaves &= leaves &- 1
        let block = first &+ child
        let index = node &<< Shape.fanOrder &+ child
        let startsLongRun = bytes[index] == 0
        let taken = takeFirst(
          length, times: left, fromBlock: block, startsLongRun, in: &bitmap, put)
        left &-= taken.count
        endedRuns &+= taken.endedRuns
        if startsLongRun {
          // The block reaches as far as before.
          if left > 0 { longRunBlock = block }
          break
        }
        bytes[index] = Self.lack(FreeBlock<Shape>(block, in: bitmap).reach)
        guard taken.entersNextBlock else { continue }
        let lack = Self.lack(FreeBlock<Shape>(block &+ 1, in: bitmap).reach)
        if child &+ 1 == Shape.fan {
          lower(block &+ 1, to: lack)
        } else {
          bytes[index &+ 1] = lack
          if lack > most { leaves &= ~(1 &<< UInt64(truncatingIfNeeded: child &+ 1)) }
        }
      } while leaves != 0 && left > 0
      bringUpToDate(above: node)
      if longRunBlock != nil { return (times &- left, endedRuns, longRunBlock) }
    }
    return (times &- left, endedRuns, nil)
  }

  /// Takes from the runs that start in a block, but for one of a block's length or more, in which
  /// `startsLongRun` is true. The tree is not brought up to date.
  @inline(__always)
  private func takeFirst(
    _ length: Int, times: Int, fromBlock block: Int, _ startsLongRun: Bool,
    in bitmap: inout GranuleBitmap, _ put: (Int, Int) -> Void
  ) -> (count: Int, endedRuns: Int, entersNextBlock: Bool) {
    let free = FreeBlock<Shape>(block, in: bitmap)
    let start = block &<< Shape.blockOrder
    var left = times
    var endedRuns = 0
    var taken: UInt64 = 0
    // The run at the block's end is longer than it is here.
    let suffix = free.suffix
    let end = Shape.block &- suffix
    let inside = end < 64 ? ~(~0 &<< UInt64(truncatingIfNeeded: end)) : ~0 as UInt64
    var starts = free.starts(ofRun: length) & inside
    while starts != 0, left > 0 {
      let position = starts.trailingZeroBitCount
      let behind = free.bits &>> UInt64(truncatingIfNeeded: position)
      let have = (~behind).trailingZeroBitCount
      let count = min(left, Self.quotient(have, length))
      let used = count &* length
      taken |=
        (~0 &>> UInt64(truncatingIfNeeded: 64 &- used)) &<< UInt64(truncatingIfNeeded: position)
      put(start &+ position, count)
      left &-= count
      endedRuns &+= used == have ? 1 : 0
      // Less than 64: the run ends before the block does, or there is no suffix and it is the last.
      let next = position &+ have
      starts &= next < 64 ? ~0 &<< UInt64(truncatingIfNeeded: next) : 0
    }
    var entersNextBlock = false
    if left > 0, !startsLongRun, suffix > 0, suffix &+ free.nextPrefix >= length {
      let have = suffix &+ free.nextPrefix
      let count = min(left, Self.quotient(have, length))
      let used = count &* length
      bitmap.allocate(
        GranuleRun(first: GranuleIndex(start &+ end), count: GranuleCount(used)))
      put(start &+ end, count)
      left &-= count
      endedRuns &+= used == have ? 1 : 0
      entersNextBlock = used > suffix
    }
    bitmap.allocate(taken, inWord: start &>> 6, from: start & 63)
    return (times &- left, endedRuns, entersNextBlock)
  }

  /// `dividend` / `divisor`, at least 1: most quotients are 1, and division is slow.
  @inline(__always)
  private static func quotient(_ dividend: Int, _ divisor: Int) -> Int {
    if dividend < 2 &* divisor { return 1 }
    if divisor == 1 { return dividend }
    return Int(UInt32(truncatingIfNeeded: dividend) / UInt32(truncatingIfNeeded: divisor))
  }

  /// Brings the nodes above `node` up to date.
  @inline(__always)
  mutating func bringUpToDate(above node: Int) {
    var node = node
    var least = Shape.least(in: bytes(of: node), except: Shape.fan)
    while node > 0 {
      let (parent, child) = tree.parent(of: node)
      guard bytes[parent &<< Shape.fanOrder &+ child] != least else { return }
      least = replace(child, of: parent, by: least)
      node = parent
    }
    noteLongest(least)
  }
}
