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

  /// A block of which the bits are known.
  @inline(__always)
  init(bits: UInt64, behind block: Int, in bitmap: borrowing GranuleBitmap) {
    self.bits = bits
    next = Self.bits(block &+ 1, in: bitmap)
  }

  @inline(__always)
  private init(bits: UInt64, next: UInt64) {
    self.bits = bits
    self.next = next
  }

  /// The same without the `length` granules from `position` on, at most a block's length.
  @inline(__always)
  func without(_ length: Int, from position: Int) -> Self {
    let ones: UInt64 = ~0 &>> UInt64(truncatingIfNeeded: 64 &- length)
    let inside = ones &<< UInt64(truncatingIfNeeded: position)
    let behind = (ones &>> 1) &>> UInt64(truncatingIfNeeded: Shape.block &- 1 &- position)
    return Self(bits: bits & ~inside, next: next & ~behind)
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
  private var nextPrefix: Int { min(Shape.block, (~next).trailingZeroBitCount) }

  /// The positions of the free granules at the block's end.
  @inline(__always)
  private var suffixPositions: UInt64 {
    let taken = ~bits & Shape.everyPosition
    let highest = UInt64(truncatingIfNeeded: 63 &- taken.leadingZeroBitCount)
    return taken == 0 ? Shape.everyPosition : (~1 &<< highest) & Shape.everyPosition
  }

  /// The positions from which `length` granules are free without leaving the block.
  @inline(__always)
  private func starts(ofRun length: Int) -> UInt64 {
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
    lengthen(5)
    lengthen(4)
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
    return max(reachInside(from: Shape.everyPosition), suffix == 0 ? 0 : across)
  }

  /// The longest run, up to a block's length, from any of `positions` on. 0 when none is free.
  @inline(__always)
  func reach(from positions: UInt64) -> Int {
    let crossing = suffixPositions & positions
    let across = min(Shape.block, Shape.block &- crossing.trailingZeroBitCount &+ nextPrefix)
    return max(reachInside(from: positions), crossing == 0 ? 0 : across)
  }

  /// The longest run from any of `positions` on without leaving the block, up to 63.
  @inline(__always)
  private func reachInside(from positions: UInt64) -> Int {
    let two = bits & bits &>> 1
    let four = two & two &>> 2
    let eight = four & four &>> 4
    let sixteen = eight & eight &>> 8
    let thirtyTwo = sixteen & sixteen &>> 16
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

  /// The positions at which maximal runs of exactly `length` granules start; less than a block's
  /// length. `continues`: whether the granule before the block is free.
  @inline(__always)
  func starts(ofMaximalRun length: Int, continues: Bool) -> UInt64 {
    let firsts = bits & ~(bits &<< 1 | (continues ? 1 : 0))
    let suffixStart = firsts & suffixPositions
    let inside =
      firsts & ~suffixStart & starts(ofRun: length)
      & ~(bits &>> UInt64(truncatingIfNeeded: length))
    return suffix &+ nextPrefix == length ? inside | suffixStart : inside
  }
}
