/// A block's free granules and those of the block behind it: all that says which runs start in the
/// block, up to a block's length. Pure arithmetic, without a branch on what is free.
struct FreeBlock<Shape: IndexShape> {
  /// The block: bit i for granule i, 1 = free.
  let bits: UInt64
  /// The block behind it.
  let next: UInt64

  @inline(__always)
  init(_ block: Int, in bitmap: borrowing GranuleBitmap) {
    bits = Self.bits(block, in: bitmap)
    next = Self.bits(block &+ 1, in: bitmap)
  }

  /// The block without its lowest `count` granules.
  @inline(__always)
  init(_ block: Int, withoutLowest count: Int, in bitmap: borrowing GranuleBitmap) {
    bits = Self.bits(block, in: bitmap) & (~0 &<< UInt64(truncatingIfNeeded: count))
    next = Self.bits(block &+ 1, in: bitmap)
  }

  @inline(__always)
  private static func bits(_ block: Int, in bitmap: borrowing GranuleBitmap) -> UInt64 {
    let start = block &<< Shape.blockOrder
    return ~bitmap.storedWord(start &>> 6) &>> UInt64(truncatingIfNeeded: start & 63)
      & Shape.everyPosition
  }

  /// How many granules are free at the block's end.
  @inline(__always)
  var suffix: Int {
    min(Shape.block, (~(bits &<< UInt64(64 &- Shape.block))).leadingZeroBitCount)
  }

  /// How many granules are free at the next block's start.
  @inline(__always)
  var nextPrefix: Int { min(Shape.block, (~next).trailingZeroBitCount) }

  /// The positions of the free granules at the block's end.
  @inline(__always)
  private var suffixPositions: UInt64 {
    let taken = ~bits & Shape.everyPosition
    let highest = UInt64(truncatingIfNeeded: 63 &- taken.leadingZeroBitCount)
    return taken == 0 ? Shape.everyPosition : (~1 &<< highest) & Shape.everyPosition
  }

  /// The positions from which `length` granules are free without leaving the block.
  @inline(__always)
  func starts(ofRun length: Int) -> UInt64 {
    // Runs of 1, then of about length / 32, length / 16, …: each is two of those before, which
    // overlap where that would be too much.
    var starts = bits
    var have = 1
    @inline(__always)
    func lengthen(_ halvings: Int) {
      let want = (length &+ (1 &<< halvings) &- 1) &>> halvings
      starts &= starts &>> UInt64(truncatingIfNeeded: want &- have)
      have = want
    }
    if length > 16 {
      lengthen(5)
      lengthen(4)
    }
    lengthen(3)
    lengthen(2)
    lengthen(1)
    lengthen(0)
    return starts
  }

  /// The longest run, up to a block's length, from any granule of the block on.
  @inline(__always)
  var reach: Int {
    let suffix = suffix
    let across = min(Shape.block, suffix &+ nextPrefix)
    return max(
      Doublings(bits).longest(from: Shape.everyPosition), suffix == 0 ? 0 : across)
  }

  /// The longest run, up to a block's length, from any of `positions` on. 0 when none is free.
  @inline(__always)
  func reach(from positions: UInt64) -> Int {
    let crossing = suffixPositions & positions
    let across = min(Shape.block, Shape.block &- crossing.trailingZeroBitCount &+ nextPrefix)
    return max(Doublings(bits).longest(from: positions), crossing == 0 ? 0 : across)
  }

  /// The lowest of `positions` from which `length` granules are free, at most a block's length; 64
  /// when there is none.
  @inline(__always)
  func firstStart(ofRun length: Int, among positions: UInt64) -> Int {
    let crossing = suffixPositions & positions
    let across = Shape.block &- crossing.trailingZeroBitCount &+ nextPrefix
    let start = crossing & (0 &- crossing)
    let inside = starts(ofRun: length) & positions
    return (inside | (across >= length ? start : 0)).trailingZeroBitCount
  }

  /// Takes the lowest `length` granules that are free in a row, where there are such: their position,
  /// and the block's ``reach`` without them. Not all of the block is free.
  ///
  /// They lie at the lower end of a run, so that no run that starts below them changes.
  @inline(__always)
  func takingFirst(_ length: Int) -> (position: Int, reach: Int) {
    let suffix = (~bits &<< UInt64(64 &- Shape.block)).leadingZeroBitCount
    // One less than a block's length is as good as all of it: only what crosses the border counts.
    let nextPrefix = (~next | 1 &<< UInt64(Shape.block &- 1)).trailingZeroBitCount
    let lacks = (suffix &+ nextPrefix &- length) &>> 63
    let crossing =
      2 &<< UInt64(truncatingIfNeeded: Shape.block &- 1 &- suffix) & Shape.everyPosition
      & ~UInt64(truncatingIfNeeded: lacks)
    let all = starts(ofRun: length) | crossing
    let first = all & (0 &- all)
    // What is taken, and nothing else above it; what overflows is in the next block.
    let taken = (first &<< 1) &<< UInt64(truncatingIfNeeded: length &- 1) &- first
    let position = all.trailingZeroBitCount
    let left = min(suffix, Shape.block &- position &- length)
    let across = min(Shape.block, left &+ nextPrefix) & ~((left &- 1) &>> 63)
    return (position, max(Doublings(bits).longest(from: ~taken), across))
  }

  /// The positions at which maximal runs of exactly `length` granules start; less than a block's
  /// length. `continues`: whether the granule before the block is free.
  @inline(__always)
  func starts(ofMaximalRun length: Int, continues: Bool) -> UInt64 {
    let firsts = firsts(continues: continues)
    let suffixStart = firsts & suffixPositions
    let inside =
      firsts & ~suffixStart & starts(ofRun: length)
      & ~(bits &>> UInt64(truncatingIfNeeded: length))
    return suffix &+ nextPrefix == length ? inside | suffixStart : inside
  }
}

extension FreeBlock {
  /// The positions at which maximal runs start. `continues`: whether the granule before the block
  /// is free.
  @inline(__always)
  func firsts(continues: Bool) -> UInt64 { bits & ~(bits &<< 1 | (continues ? 1 : 0)) }

  /// The positions at which maximal runs of `length` granules to less than `limit` start; both at
  /// most a block's length.
  @inline(__always)
  func starts(ofRunsFrom length: Int, below limit: Int, continues: Bool) -> UInt64 {
    let firsts = firsts(continues: continues)
    let suffixStart = firsts & suffixPositions
    let inside = firsts & ~suffixStart & starts(ofRun: length) & ~starts(ofRun: limit)
    let across = suffix &+ nextPrefix
    return across >= length && across < limit ? inside | suffixStart : inside
  }

  /// The free granules from a position on where one is, up to the next block's end.
  @inline(__always)
  func length(ofRunFrom position: Int) -> Int {
    let inside = (~(bits &>> UInt64(truncatingIfNeeded: position))).trailingZeroBitCount
    return position &+ inside < Shape.block ? inside : inside &+ nextPrefix
  }
}

/// The positions in a word from which 1, 2, 4, 8, 16 and 32 granules are free.
struct Doublings {
  let bits: UInt64
  let two: UInt64
  let four: UInt64
  let eight: UInt64
  let sixteen: UInt64
  let thirtyTwo: UInt64

  @inline(__always)
  init(_ bits: UInt64) {
    self.bits = bits
    two = bits & bits &>> 1
    four = two & two &>> 2
    eight = four & four &>> 4
    sixteen = eight & eight &>> 8
    thirtyTwo = sixteen & sixteen &>> 16
  }

  /// The longest run from any of `positions` on without leaving the word, up to 63.
  @inline(__always)
  func longest(from positions: UInt64) -> Int {
    // The length, bit by bit from the highest, by the positions that still reach.
    var from = positions
    var length: UInt64 = 0
    @inline(__always)
    func extend(by step: UInt64, _ starts: UInt64) {
      let longer = from & starts &>> length
      from = longer != 0 ? longer : from
      length = longer != 0 ? length | step : length
    }
    extend(by: 32, thirtyTwo)
    extend(by: 16, sixteen)
    extend(by: 8, eight)
    extend(by: 4, four)
    extend(by: 2, two)
    extend(by: 1, bits)
    return Int(truncatingIfNeeded: length)
  }
}
