/// The free runs of a block's length and more, each known by the block in which it starts.
///
/// Such a run reaches the end of that block, so no other starts there. `lengths` has the run's length
/// at the block, 0 where none starts; above the blocks stands a tree of bits, 1 where a long run
/// starts below.
///
/// Invariant: lengths and bits are as said for the bitmap as it is.
struct LongRuns<Shape: IndexShape>: ~Copyable {
  // Longer runs have the largest number, and are measured when it matters.
  private let lengths: Table<UInt32>
  let tree: NodeTree<Shape>
  private let bits: Table<UInt64>
  /// The same runs by length, once the best fit was asked for.
  var byLength: LengthTrie<Shape>?

  /// The long runs of `bitmap`; nil without memory. O(words).
  init?(bitmap: borrowing GranuleBitmap) {
    let blocks = (bitmap.count.rawValue + Shape.block - 1) >> Shape.blockOrder
    tree = NodeTree(leafCount: blocks)
    guard let lengths = Table<UInt32>(count: blocks),
      let bits = Table<UInt64>(count: tree.nodeCount)
    else { return nil }
    self.lengths = lengths
    self.bits = bits
    byLength = nil
    var start = bitmap.nextFree(from: 0)
    while start < bitmap.count.rawValue {
      let end = bitmap.nextAllocated(from: start, limit: bitmap.count.rawValue)
      if end - start >= Shape.block { set(start >> Shape.blockOrder, end - start) }
      start = bitmap.nextFree(from: end)
    }
  }

  /// The memory this takes, in bytes.
  var byteCount: Int {
    let trie =
      switch byLength {
      case .some(let trie): trie.byteCount
      case nil: 0
      }
    return lengths.byteCount + bits.byteCount + trie
  }

  // MARK: Looking up

  /// The granule at which the long run that starts in `block` does.
  @inline(__always)
  func start(of block: Int, in bitmap: borrowing GranuleBitmap) -> Int {
    (block &+ 1) &<< Shape.blockOrder &- FreeBlock<Shape>(block, in: bitmap).suffix
  }

  /// The length of the long run that starts in `block`; at most 2^32 − 1 is said.
  @inline(__always)
  func length(of block: Int) -> Int { Int(lengths[block]) }

  /// The end of the long run from `start` on. Constant time below 2^32 granules.
  @inline(__always)
  func end(ofRunFrom start: Int, in bitmap: borrowing GranuleBitmap) -> Int {
    let length = lengths[start &>> Shape.blockOrder]
    guard length < .max else {
      return bitmap.nextAllocated(from: start, limit: bitmap.count.rawValue)
    }
    return start &+ Int(length)
  }

  /// The start of the long run that a block's length of free granules before `end` belongs to.
  /// Constant time a level.
  @inline(never)
  func start(ofRunBefore end: Int, in bitmap: borrowing GranuleBitmap) -> Int {
    // From there to `end` all is free: no other long run starts between its start and that block.
    let block = (end &- Shape.block) &>> Shape.blockOrder
    var node = tree.node(over: block)
    var below = bits[node] & ~(~1 &<< UInt64(truncatingIfNeeded: tree.child(block)))
    while below == 0 {
      let (parent, child) = tree.parent(of: node)
      node = parent
      below = bits[node] & ~(~0 &<< UInt64(truncatingIfNeeded: child))
    }
    var child = 63 &- below.leadingZeroBitCount
    while node < tree.firstLow {
      node = tree.node(under: node, child: child)
      child = 63 &- bits[node].leadingZeroBitCount
    }
    return start(of: tree.firstLeaf(under: node) &+ child, in: bitmap)
  }

  /// The children of a node below which long runs start.
  @inline(__always)
  func children(of node: Int) -> UInt64 { bits[node] }

  /// The start of the shortest long run of at least `length` granules, the lowest of equals. The
  /// runs are known by length.
  func best(_ length: Int, in bitmap: borrowing GranuleBitmap) -> Int? {
    switch byLength {
    case .some(let trie): trie.shortest(length, lengths).map { start(of: $0, in: bitmap) }
    case nil: nil
    }
  }

  // MARK: Keeping up

  /// Records that the long run `start ..< end` lost `first ..< last`; true.
  ///
  /// What is left of it on either side is a long run only from a block's length on.
  mutating func split(_ start: Int, _ end: Int, by first: Int, _ last: Int) {
    let block = start &>> Shape.blockOrder
    let before = first &- start
    let behind = end &- last
    guard behind >= Shape.block else { return set(block, before >= Shape.block ? before : 0) }
    let lastBlock = last &>> Shape.blockOrder
    if lastBlock != block { set(block, before >= Shape.block ? before : 0) }
    set(lastBlock, behind)
  }

  /// Records that `start ..< end` is a long run now; `behind`: the start of the long run that became
  /// its upper end, if one did.
  mutating func join(_ start: Int, _ end: Int, behind: Int?) {
    let block = start &>> Shape.blockOrder
    if let behind, behind &>> Shape.blockOrder != block { set(behind &>> Shape.blockOrder, 0) }
    set(block, end &- start)
  }

  /// Records that the long run that starts in `block` has `length` granules now.
  mutating func shorten(_ block: Int, to length: Int) { set(block, length) }

  private mutating func set(_ block: Int, _ length: Int) {
    let old = lengths[block]
    let new = UInt32(clamping: length)
    guard old != new else { return }
    // The trie reads lengths on its way: it goes first where one goes, last where one comes.
    if old != 0 { byLength?.remove(block, lengths) }
    lengths[block] = new
    if new != 0 { byLength?.insert(block, lengths) }
    guard (old == 0) != (new == 0) else { return }
    var node = tree.node(over: block)
    var child = tree.child(block)
    while true {
      let word = bits[node]
      let bit: UInt64 = 1 &<< UInt64(truncatingIfNeeded: child)
      let changed = new != 0 ? word | bit : word & ~bit
      bits[node] = changed
      // The nodes above say "some" or "none".
      guard (word == 0) != (changed == 0), node > 0 else { return }
      (node, child) = tree.parent(of: node)
    }
  }

  /// Starts to know the runs by length; false without memory. O(blocks).
  mutating func knowByLength() -> Bool {
    guard var trie = LengthTrie<Shape>(blocks: tree.leafCount) else { return false }
    for block in 0..<tree.leafCount where lengths[block] != 0 { trie.insert(block, lengths) }
    byLength = consume trie
    return true
  }

  // MARK: Checking

  /// The first rule that does not hold; nil when all do. O(granules).
  func brokenRule(in bitmap: borrowing GranuleBitmap, front: Front<Shape>) -> String? {
    var starts = [Int](repeating: 0, count: tree.leafCount)
    bitmap.forEachFreeRun { run in
      if run.count.rawValue >= Shape.block {
        starts[run.first.rawValue >> Shape.blockOrder] = run.count.rawValue
      }
      return true
    }
    if front.isActive { starts[front.block] = front.end - front.floor }
    for block in 0..<tree.leafCount {
      if length(of: block) != starts[block] { return "a long run is known by its first block" }
      let bit = bits[tree.node(over: block)] >> UInt64(tree.child(block)) & 1
      if (bit == 1) != (starts[block] > 0) { return "a bit for each long run's start" }
    }
    for node in 1..<max(1, tree.nodeCount) {
      let (parent, child) = tree.parent(of: node)
      if (bits[parent] >> UInt64(child) & 1 == 1) != (bits[node] != 0) {
        return "a bit above is some bit below"
      }
    }
    return switch byLength {
    case .some(let trie): trie.brokenRule(lengths)
    case nil: nil
    }
  }
}

/// For one alignment, the most room that the long runs have: for each node of the long runs' tree, the
/// most granules that any run starting below it has from its first place on.
///
/// Invariant: rooms are as said; 0 where no long run starts below.
struct Rooms<Shape: IndexShape>: ~Copyable {
  let order: Int
  let phase: Int
  private let rooms: Table<UInt32>

  /// The rooms of the places `phase` modulo 2^`order`; nil without memory. O(long runs).
  init?(order: Int, phase: Int, runs: borrowing LongRuns<Shape>, bitmap: borrowing GranuleBitmap) {
    guard let rooms = Table<UInt32>(count: runs.tree.nodeCount) else { return nil }
    self.order = order
    self.phase = phase
    self.rooms = rooms
    for node in stride(from: runs.tree.nodeCount - 1, through: 0, by: -1) {
      self.rooms[node] = most(under: node, runs, bitmap)
    }
  }

  /// The memory this takes, in bytes.
  var byteCount: Int { rooms.byteCount }

  /// The most room of all.
  @inline(__always)
  var longest: Int { Int(rooms[0]) }

  /// The most room of all but the long run that starts in `block`. Constant time a level.
  func longest(
    _ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap, except block: Int
  ) -> Int {
    var room: UInt32 = 0
    var node = runs.tree.node(over: block)
    var child = runs.tree.child(block)
    while true {
      room = max(room, most(under: node, runs, bitmap, except: child))
      guard node > 0 else { return Int(room) }
      (node, child) = runs.tree.parent(of: node)
    }
  }

  /// The lowest place with `length` free granules in a long run; nil when there is none. Constant
  /// time a child and level.
  func first(
    _ length: Int, _ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap
  ) -> Int? {
    guard let length = UInt32(exactly: length), length <= rooms[0] else { return nil }
    var node = 0
    while node < runs.tree.firstLow {
      var children = runs.children(of: node)
      while rooms[runs.tree.node(under: node, child: children.trailingZeroBitCount)] < length {
        children &= children &- 1
      }
      node = runs.tree.node(under: node, child: children.trailingZeroBitCount)
    }
    var children = runs.children(of: node)
    while true {
      let block = runs.tree.firstLeaf(under: node) &+ children.trailingZeroBitCount
      if room(block, runs, bitmap) >= length { return place(block, runs, bitmap) }
      children &= children &- 1
    }
  }

  /// Brings the rooms up to date after the long run that starts in `block` came, went or changed.
  mutating func update(
    _ block: Int, _ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap
  ) {
    var node = runs.tree.node(over: block)
    while true {
      let room = most(under: node, runs, bitmap)
      guard room != rooms[node] else { return }
      rooms[node] = room
      guard node > 0 else { return }
      node = runs.tree.parent(of: node).node
    }
  }

  private func most(
    under node: Int, _ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap,
    except: Int? = nil
  ) -> UInt32 {
    var most: UInt32 = 0
    var children = runs.children(of: node)
    if let except { children &= ~(1 &<< UInt64(truncatingIfNeeded: except)) }
    while children != 0 {
      let child = children.trailingZeroBitCount
      children &= children &- 1
      let room =
        node < runs.tree.firstLow
        ? rooms[runs.tree.node(under: node, child: child)]
        : room(runs.tree.firstLeaf(under: node) &+ child, runs, bitmap)
      most = max(most, room)
    }
    return most
  }

  /// The first place of the long run that starts in `block`, in it or behind it.
  @inline(__always)
  private func place(
    _ block: Int, _ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap
  ) -> Int {
    let start = runs.start(of: block, in: bitmap)
    return start &+ (phase &- start) & ((1 &<< order) &- 1)
  }

  @inline(__always)
  private func room(
    _ block: Int, _ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap
  ) -> UInt32 {
    if order == 0 { return UInt32(truncatingIfNeeded: runs.length(of: block)) }
    let lost = place(block, runs, bitmap) &- runs.start(of: block, in: bitmap)
    return UInt32(truncatingIfNeeded: max(0, runs.length(of: block) &- lost))
  }

  /// The first rule that does not hold; nil when all do. The front's run counts from where it was
  /// recorded.
  func brokenRule(
    _ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap, front: Front<Shape>
  ) -> String? {
    var most = [UInt32](repeating: 0, count: runs.tree.nodeCount)
    for block in 0..<runs.tree.leafCount where runs.length(of: block) > 0 {
      let isFront = front.isActive && block == front.block
      let start = isFront ? front.floor : runs.start(of: block, in: bitmap)
      let lost = (phase &- start) & ((1 &<< order) &- 1)
      let room = UInt32(truncatingIfNeeded: max(0, runs.length(of: block) &- lost))
      let node = runs.tree.node(over: block)
      most[node] = max(most[node], room)
    }
    for node in stride(from: runs.tree.nodeCount - 1, through: 0, by: -1) {
      if rooms[node] != most[node] { return "a node's room is the most below" }
      let parent = node > 0 ? runs.tree.parent(of: node).node : 0
      most[parent] = max(most[parent], most[node])
    }
    return nil
  }
}
