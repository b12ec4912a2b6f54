/// The lowest free run of a chunk while it is a long one: how far it reaches down is known here first.
///
/// While it shrinks and grows at its lower end within one block, only the bitmap has to know,
/// whatever fit asks: no place is lower than the front's. The trees stand as if what was taken
/// since the front was recorded, `floor ..< start`, were free: the reach of its block from any
/// granule is a block's length all the time; its length, its room and the reach from aligned
/// granules of that one block are corrected before anything else is looked for.
///
/// Invariant, if there is one: all granules below `start` are allocated; `start ..< end` is a maximal
/// free run of a block's length or more; `floor` ≤ `start` are granules of one block; what ``LongRuns``
/// has recorded is `end` − `floor`, and all else that is known by places stands for that run.
struct Front<Shape: IndexShape> {
  /// The lowest free granule.
  private(set) var start = 0
  /// Where it was when its length was recorded.
  let floor: Int
  /// The highest granule that may become ``start``; −1 where there is no front.
  private let limit: Int
  /// The granule behind the run.
  let end: Int
  /// The length of the longest other run, if it is a long one.
  let longestOther: Int

  /// No front.
  init() {
    floor = 0
    limit = -1
    end = 0
    longestOther = 0
  }

  /// The front `start ..< end`, which is recorded, beside a longest run of `longestOther` granules.
  init(_ start: Int, end: Int, longestOther: Int) {
    self.start = start
    self.longestOther = longestOther
    self.end = end
    floor = start
    limit = min(start | (Shape.block &- 1), end &- Shape.block)
  }

  @inline(__always)
  var isActive: Bool { limit >= 0 }

  /// The length of the longest run of all, if there is a front.
  @inline(__always)
  var longest: Int { max(longestOther, end &- start) }

  /// The block that the run starts in.
  var block: Int { floor >> Shape.blockOrder }

  /// Takes `count` granules from the lower end; where, nil when there is no front or it would no longer
  /// be one.
  @inline(__always)
  mutating func take(_ count: Int) -> Int? {
    guard count <= limit &- start else { return nil }
    defer { start &+= count }
    return start
  }

  /// Gives back `first ..< last`; false when they are not what was taken last.
  @inline(__always)
  mutating func giveBack(_ first: Int, _ last: Int) -> Bool {
    guard last == start, first >= floor else { return false }
    start = first
    return true
  }

  /// The lowest place for `length` granules that is `phase` modulo `mask` + 1, a power of two or
  /// 2^64, if it is in the front; nil otherwise, and when there is no front. No lower run could
  /// have it.
  @inline(__always)
  func place(_ length: Int, mask: UInt64 = 0, phase: Int = 0) -> Int? {
    guard isActive, length <= end &- start else { return nil }
    let lost = UInt64(truncatingIfNeeded: phase &- start) & mask
    guard lost <= UInt64(truncatingIfNeeded: end &- start &- length) else { return nil }
    return start &+ Int(truncatingIfNeeded: lost)
  }

  /// The lowest allocated granule in `place ..< limit`, or `limit`, when what was taken since the
  /// front was recorded counts as free: what the trees know. For checking.
  func nextAllocated(from place: Int, limit: Int, in bitmap: borrowing GranuleBitmap) -> Int {
    if isActive, floor <= place, place < start { return min(end, limit) }
    return bitmap.nextAllocated(from: place, limit: limit)
  }

  /// The first rule that does not hold; nil when all do. O(words).
  func brokenRule(in bitmap: borrowing GranuleBitmap) -> String? {
    guard isActive else { return nil }
    if bitmap.nextFree(from: 0) != start { return "the front is the lowest free run" }
    if bitmap.nextAllocated(from: start, limit: bitmap.count.rawValue) != end {
      return "the front ends where its run does"
    }
    guard floor <= start, start <= limit, start >> Shape.blockOrder == block else {
      return "the front stays in its block"
    }
    return nil
  }
}
