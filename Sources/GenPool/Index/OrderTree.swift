/// For four neighbouring alignments, where the lowest place for up to a block's length of granules
/// is.
///
/// A *place* of order k is a granule whose index is `phase` modulo 2^k. A leaf is a block; it has a
/// byte for each of the orders: how much the longest free run from any place of that order in the
/// block, counted up to a block's length, lacks of a block's length. Zeroed memory is so a block in
/// which all is free. Above the leaves stand the least of each order. A node is a cache line, its
/// children side by side, so that a change brings all orders up to date at once, and a search looks
/// at one column of bytes.
///
/// Orders above a block's are as a block's, and not used.
///
/// A tree that is asked for when much is allocated is built block by block, in steps, so that no
/// call waits for all of it. What is not built lacks nothing, as far as is known.
///
/// Invariant: every leaf that is built is as said, others lack no more than that; every byte above
/// is the least below it, ``least`` the least of all. Where there is no leaf, all orders lack a
/// block's length.
struct OrderTree<Shape: IndexShape>: ~Copyable {
  /// The lowest of the orders.
  let firstOrder: Int
  let phase: Int
  /// For each order, the places in a block.
  private let positions: Table<UInt64>
  /// For each order, 2^order − 1.
  private let masks: UInt32

  private let leafCount: Int
  /// The number of levels of nodes, at least 1.
  private let depth: Int
  /// The number of the first leaf's entry: entry c of node i is number i × children + c, and node e
  /// + 1 is what entry e says the least of.
  private let firstLeaf: Int
  private let entries: Table<UInt32>
  /// The lack of the best of all places, by order.
  private var least: UInt32 = 0
  /// The number of leaves that are built, the lowest first.
  private var builtCount = 0

  private static var orders: Int { 4 }
  private static var ones: UInt32 { 0x0101_0101 }
  /// All orders lack a block's length.
  private static var nothing: UInt32 { UInt32(truncatingIfNeeded: Shape.block) &* ones }

  /// The tree of `firstOrder` and the three orders above, in `bitmap`; nil without memory for it.
  /// Constant time a level. It is built if `isEmpty`: nothing is allocated.
  init?(firstOrder: Int, phase: Int, in bitmap: borrowing GranuleBitmap, isEmpty: Bool) {
    self.firstOrder = firstOrder
    self.phase = phase
    leafCount = (bitmap.count.rawValue + Shape.block - 1) >> Shape.blockOrder
    let (firstLow, nodes, depth) = levels(over: leafCount, fanOrder: Shape.lineOrder)
    self.depth = depth
    firstLeaf = firstLow << Shape.lineOrder
    guard let entries = Table<UInt32>(count: nodes << Shape.lineOrder),
      let positions = Table<UInt64>(count: Self.orders)
    else { return nil }
    self.entries = entries
    self.positions = positions
    var masks: UInt32 = 0
    for lane in 0..<Self.orders {
      let order = min(firstOrder + lane, Shape.blockOrder)
      masks |= (1 << UInt32(order) - 1) << UInt32(8 * lane)
      var places: UInt64 = 0
      for position in stride(from: phase & (1 << order - 1), to: Shape.block, by: 1 << order) {
        places |= 1 << UInt64(position)
      }
      self.positions[lane] = places
    }
    self.masks = masks
    // What is right of the last leaf and of its nodes is never looked below.
    var entry = firstLeaf + max(0, leafCount - 1)
    if leafCount == 0 { self.entries[entry] = Self.nothing }
    while true {
      let end = (entry | (Shape.line - 1)) + 1
      for beyond in (entry + 1)..<end { self.entries[beyond] = Self.nothing }
      guard entry >= Shape.line else { break }
      entry = entry >> Shape.lineOrder - 1
    }
    if leafCount == 0 { least = Self.nothing }
    if isEmpty, leafCount > 0 {
      rebuild(max(0, leafCount - 2), leafCount - 1, in: bitmap)
      builtCount = leafCount
    }
  }

  /// Whether all of it is built.
  @inline(__always)
  var isBuilt: Bool { builtCount == leafCount }

  /// Builds a step more.
  mutating func build(in bitmap: borrowing GranuleBitmap) {
    guard !isBuilt else { return }
    let first = builtCount
    builtCount = min(leafCount, first + max(Shape.buildStep, leafCount >> 5))
    rebuild(first, builtCount - 1, in: bitmap)
  }

  /// The memory this takes, in bytes, if all of it is used.
  var byteCount: Int { entries.byteCount }

  @inline(__always)
  private func lane(_ order: Int) -> Int { order &- firstOrder }

  @inline(__always)
  private func line(_ entry: Int) -> LineEntries {
    unsafe LineEntries(entries.pointer(to: entry & ~(Shape.line &- 1)))
  }

  // MARK: Searching

  /// The lack of the best of all places, a byte for each order.
  @inline(__always)
  var lacksOfBest: UInt32 { least }

  /// The longest run from any place of an order, up to a block's length.
  @inline(__always)
  func longest(_ order: Int) -> Int {
    Shape.block &- Int(truncatingIfNeeded: least &>> UInt32(8 &* lane(order)) & 0xff)
  }

  /// The lowest block that is not known to have no place of an order for `length` granules, 1 to a
  /// block's length; nil when there is none. Constant time a level.
  @inline(__always)
  private func block(for length: Int, _ order: Int) -> Int? {
    guard length <= longest(order) else { return nil }
    let lack = UInt8(truncatingIfNeeded: Shape.block &- length)
    let lane = lane(order)
    var entry = Shape.first(lacking: lack, lane, in: line(0))
    for _ in 1..<depth {
      let node = (entry &+ 1) &<< Shape.lineOrder
      entry = node &+ Shape.first(lacking: lack, lane, in: line(node))
    }
    return entry &- firstLeaf
  }

  /// The lowest place of an order for `length` granules, 1 to a block's length; nil when there is
  /// none. Constant time a level. The tree is built.
  @inline(__always)
  func first(_ length: Int, _ order: Int, in bitmap: borrowing GranuleBitmap) -> Int? {
    guard let block = block(for: length, order) else { return nil }
    let position = FreeBlock<Shape>(block, in: bitmap).firstStart(
      ofRun: length, among: positions[lane(order)])
    return block &<< Shape.blockOrder &+ position
  }

  /// The same of a tree that is not built. O(blocks).
  func firstWhileBuilding(_ length: Int, _ order: Int, in bitmap: borrowing GranuleBitmap) -> Int? {
    let positions = positions[lane(order)]
    guard let known = block(for: length, order),
      let block = Shape.block(
        from: known, to: leafCount, withRunOf: length, from: positions, in: bitmap)
    else { return nil }
    let free = FreeBlock<Shape>(block, in: bitmap)
    return block << Shape.blockOrder + free.firstStart(ofRun: length, among: positions)
  }

  /// The longest run from any place of an order, up to a block's length. O(blocks) while the tree
  /// is not built.
  func longest(_ order: Int, in bitmap: borrowing GranuleBitmap) -> Int {
    guard !isBuilt else { return longest(order) }
    let positions = positions[lane(order)]
    var longest = 0
    var next = 0
    while longest < Shape.block,
      let block = Shape.block(
        from: next, to: leafCount, withRunOf: longest + 1, from: positions, in: bitmap)
    {
      longest = FreeBlock<Shape>(block, in: bitmap).reach(from: positions)
      next = block + 1
    }
    return longest
  }

  // MARK: Keeping up

  /// Brings the tree up to date after granules changed, given the blocks in which the reach of any
  /// granule may have. Constant time a block and level.
  @inline(__always)
  mutating func update(_ first: Int, _ last: Int, in bitmap: borrowing GranuleBitmap) {
    guard last &- first < 3 else { return rebuild(first, last, in: bitmap) }
    var block = first
    repeat {
      set(block, to: lacks(of: block, in: bitmap))
      block &+= 1
    } while block <= last
  }

  /// Sets a leaf, and what is above it.
  @inline(__always)
  private mutating func set(_ block: Int, to lacks: UInt32) {
    var entry = firstLeaf &+ block
    var value = lacks
    for _ in 1..<depth {
      value = replace(entry, by: value)
      entry = entry &>> Shape.lineOrder &- 1
    }
    least = replace(entry, by: value)
  }

  /// Sets an entry; the least of its line.
  @inline(__always)
  private func replace(_ entry: Int, by value: UInt32) -> UInt32 {
    // Before the store: a wide load right behind a narrow store would wait for it.
    let siblings = Shape.least(in: line(entry), except: entry & (Shape.line &- 1))
    entries[entry] = value
    return Self.least(siblings, value)
  }

  /// Brings the tree up to date after granules were freed, given the blocks in which the reach of
  /// any granule may have grown, and the free run `start ..< end`, shorter than a block, that they
  /// are part of.
  @inline(__always)
  mutating func raise(_ first: Int, _ last: Int, byRunFrom start: Int, to end: Int) {
    var block = first
    repeat {
      let from = max(start, block &<< Shape.blockOrder)
      lower(block, to: lacks(ofRunFrom: from, length: end &- from))
      block &+= 1
    } while block <= last
  }

  /// Lets a leaf lack no more than `lacks`, nor what is above it.
  @inline(__always)
  private mutating func lower(_ block: Int, to lacks: UInt32) {
    var entry = firstLeaf &+ block
    least = Self.least(least, lacks)
    entries[entry] = Self.least(entries[entry], lacks)
    // Always all levels: a branch that is guessed costs more.
    for _ in 1..<depth {
      entry = entry &>> Shape.lineOrder &- 1
      entries[entry] = Self.least(entries[entry], lacks)
    }
  }

  /// The lack of a block in which nothing is free but a run, shorter than a block, from `start` on.
  @inline(__always)
  private func lacks(ofRunFrom start: Int, length: Int) -> UInt32 {
    let lost = lost(from: start)
    return UInt32(truncatingIfNeeded: Shape.block &- length) &* Self.ones &+ lost
      | outside(start & (Shape.block &- 1), lost)
  }

  /// The distance from a granule to the first place of each order.
  @inline(__always)
  private func lost(from start: Int) -> UInt32 {
    UInt32(truncatingIfNeeded: (phase &- start) & 0xff) &* Self.ones & masks
  }

  /// A block's length for each order whose place is `lost` granules above a position, but no longer
  /// in the block: to be combined with what is lacked by those that are.
  @inline(__always)
  private func outside(_ position: Int, _ lost: UInt32) -> UInt32 {
    (UInt32(truncatingIfNeeded: position) &* Self.ones &+ lost) & Self.nothing
  }

  /// The lesser of each order. No byte has its highest bit set.
  @inline(__always)
  private static func least(_ one: UInt32, _ other: UInt32) -> UInt32 {
    let high = ones &<< 7
    let isLess = ((other | high) &- one) & high
    let mask = isLess &<< 1 &- isLess &>> 7
    return other ^ (one ^ other) & mask
  }

  @inline(__always)
  private func lacks(of block: Int, in bitmap: borrowing GranuleBitmap) -> UInt32 {
    let free = FreeBlock<Shape>(block, in: bitmap)
    let positions = unsafe OrderPositions(positions.pointer(to: 0))
    let inside = Self.nothing &- Shape.reachesInside(free.bits, from: positions)
    // What crosses the block's end is one run, from where nothing but free granules follow.
    let suffix = free.suffix
    let start = Shape.block &- suffix
    let lost = lost(from: start)
    let high = Self.ones &<< 7
    let length = UInt32(truncatingIfNeeded: min(suffix &+ free.nextPrefix, 127))
    let signed = (Self.nothing &+ lost | high) &- length &* Self.ones
    let isPositive = signed & high
    let across = signed & (isPositive &- isPositive &>> 7)
    return Self.least(inside, across | outside(start, lost))
  }

  /// Brings many blocks up to date, each node above them once.
  @inline(never)
  private mutating func rebuild(_ first: Int, _ last: Int, in bitmap: borrowing GranuleBitmap) {
    for block in first...last { entries[firstLeaf &+ block] = lacks(of: block, in: bitmap) }
    var low = firstLeaf &+ first
    var high = firstLeaf &+ last
    while low >= Shape.line {
      let lowest = low &>> Shape.lineOrder &- 1
      let highest = high &>> Shape.lineOrder &- 1
      for entry in lowest...highest {
        entries[entry] = Shape.least(
          in: line((entry &+ 1) &<< Shape.lineOrder), except: Shape.line)
      }
      low = lowest
      high = highest
    }
    least = Shape.least(in: line(0), except: Shape.line)
  }

  // MARK: Checking

  /// The first rule that does not hold; nil when all do. O(granules).
  func brokenRule(in bitmap: borrowing GranuleBitmap, front: Front<Shape>) -> String? {
    var expected = [[UInt32]](repeating: [], count: depth)
    for block in 0..<leafCount {
      var lacks: UInt32 = 0
      for lane in 0..<Self.orders {
        let order = min(firstOrder + lane, Shape.blockOrder)
        var longest = 0
        for place in (block << Shape.blockOrder)..<((block + 1) << Shape.blockOrder)
        where (place - phase) & (1 << order - 1) == 0 {
          let end = min(place + Shape.block, bitmap.count.rawValue)
          longest = max(longest, front.nextAllocated(from: place, limit: end, in: bitmap) - place)
        }
        lacks |= UInt32(Shape.block - longest) << UInt32(8 * lane)
      }
      if block >= builtCount {
        let entry = entries[firstLeaf + block]
        if Self.least(entry, lacks) != entry {
          return "what is not built lacks no more than it does"
        }
        lacks = entry
      }
      expected[depth - 1].append(lacks)
    }
    var first = firstLeaf
    for level in (0..<depth).reversed() {
      while expected[level].isEmpty || expected[level].count & (Shape.line - 1) != 0 {
        expected[level].append(Self.nothing)
      }
      for (index, lacks) in expected[level].enumerated() where entries[first + index] != lacks {
        return "an order's byte is what its best place below lacks"
      }
      let above = stride(from: 0, to: expected[level].count, by: Shape.line).map { start in
        (1..<Shape.line).reduce(expected[level][start]) { least, child in
          Self.least(least, expected[level][start + child])
        }
      }
      if level > 0 {
        expected[level - 1] = above
        first = ((first >> Shape.lineOrder - 1) >> Shape.lineOrder) << Shape.lineOrder
      } else if above != [least] {
        return "the best places of all are the root's"
      }
    }
    return nil
  }
}

/// The numbers of the trees of alignments that there are.
struct KnownOrders {
  /// A byte for each, one more than its number.
  private var numbers: UInt32 = 0

  /// The lowest of the orders that `order`, from 1 to 8, is kept with.
  @inline(__always)
  static func first(with order: Int) -> Int { (order &- 1) & 4 &+ 1 }

  @inline(__always)
  private static func shift(_ order: Int, _ isAtStart: Bool) -> UInt32 {
    UInt32(truncatingIfNeeded: (order &- 1) &<< 1 & 8) | (isAtStart ? 0 : 16)
  }

  /// The number of the tree for an order's places, at multiples counted from the chunk's start or
  /// not; -1 for none.
  @inline(__always)
  func number(_ order: Int, isAtStart: Bool) -> Int {
    Int(truncatingIfNeeded: numbers &>> Self.shift(order, isAtStart) & 0xff) &- 1
  }

  /// Records that there is a tree.
  mutating func note(_ number: Int, _ order: Int, isAtStart: Bool) {
    numbers |= UInt32(truncatingIfNeeded: number &+ 1) &<< Self.shift(order, isAtStart)
  }
}

/// For each of four orders, the positions of its places in a block.
// SAFETY: made by OrderTree alone, from a table of four that outlives the call it is made for.
@safe
package struct OrderPositions {
  let places: UnsafePointer<UInt64>

  @inline(__always)
  init(_ places: UnsafePointer<UInt64>) { unsafe self.places = places }

  @inline(__always)
  subscript(lane: Int) -> UInt64 { unsafe places[lane] }
}

/// The entries of a node of ``OrderTree``: four bytes each, one for each order.
// SAFETY: made by OrderTree alone, from a table that outlives the call it is made for.
@safe
package struct LineEntries {
  let entries: UnsafePointer<UInt32>

  @inline(__always)
  init(_ entries: UnsafePointer<UInt32>) { unsafe self.entries = entries }

  @inline(__always)
  subscript(child: Int) -> UInt32 { unsafe entries[child] }
}
