/// The free runs of a block's length and more, each known by the block in which it starts.
///
/// Such a run reaches the end of that block, so no other starts there. `lengths` has the run's length
/// at the block, 0 where none starts; above the blocks stands a tree of bits, 1 where a long run
/// starts below.
///
/// Invariant: lengths and bits are as said for the bitmap as it is.
struct LongRuns<Shape: IndexShape>: ~Copyable {
  private let lengths: NumberTable<Shape>
  /// No run is longer: the number of granules.
  private let limit: Int
  let tree: NodeTree<Shape>
  private let bits: Table<UInt64>
  /// The same runs by length, once the best fit was asked for: those that start in the first
  /// ``builtCount`` blocks.
  private var byLength: LengthTrie<Shape>?
  private var builtCount = 0

  /// No long runs of `count` granules, in an arena where they were planned. O(1).
  init(count: Int, in arena: inout Arena) {
    tree = NodeTree(granules: count)
    lengths = NumberTable(count: tree.leafCount, upTo: count, in: &arena)
    limit = count
    bits = arena.table(tree.nodeCount)
    byLength = nil
  }

  /// Plans the tables of such runs.
  static func plan(count: Int, in plan: inout ArenaPlan) {
    let tree = NodeTree<Shape>(granules: count)
    NumberTable<Shape>.plan(count: tree.leafCount, upTo: count, in: &plan)
    _ = plan.place(UInt64.self, tree.nodeCount)
  }

  /// Records the free run `run` if it is a long one. Constant time a level.
  mutating func add(_ run: GranuleRun) {
    let length = run.count.rawValue
    if length >= Shape.block { set(run.first.rawValue >> Shape.blockOrder, length) }
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

  /// The length of the long run that starts in `block`; 0 where none does.
  @inline(__always)
  func length(of block: Int) -> Int { lengths[block] }

  /// The same where the width of numbers is known, which is that of the rooms.
  @inline(__always)
  func length<Word: FixedWidthInteger & BitwiseCopyable>(of block: Int, _ word: Word.Type) -> Int {
    lengths[block, word]
  }

  /// The end of the long run from `start` on. Constant time.
  @inline(__always)
  func end(ofRunFrom start: Int) -> Int { start &+ lengths[start &>> Shape.blockOrder] }

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

  /// The lowest block from `block` on in which a long run starts; nil when there is none. Constant
  /// time a level.
  func next(from block: Int) -> Int? {
    guard block < tree.leafCount else { return nil }
    var node = tree.node(over: block)
    var children = bits[node] & (~0 &<< UInt64(truncatingIfNeeded: tree.child(block)))
    while children == 0 {
      guard node > 0 else { return nil }
      let (parent, child) = tree.parent(of: node)
      node = parent
      children = bits[node] & (~1 &<< UInt64(truncatingIfNeeded: child))
    }
    while node < tree.firstLow {
      node = tree.node(under: node, child: children.trailingZeroBitCount)
      children = bits[node]
    }
    return tree.firstLeaf(under: node) &+ children.trailingZeroBitCount
  }

  /// The lowest block from `block` on that is not inside a long run. Constant time a level.
  func firstBlock(from block: Int, in bitmap: borrowing GranuleBitmap) -> Int {
    guard block < tree.leafCount, bitmap.bit(block << Shape.blockOrder - 1) == 0,
      FreeBlock<Shape>(block, in: bitmap).suffix == Shape.block
    else { return block }
    let start = start(ofRunBefore: (block + 1) << Shape.blockOrder, in: bitmap)
    return end(ofRunFrom: start) >> Shape.blockOrder
  }

  /// The block behind `block`, or behind those inside the long run that starts there; `free` is the
  /// block.
  @inline(__always)
  func block(
    behind block: Int, _ free: FreeBlock<Shape>, in bitmap: borrowing GranuleBitmap
  ) -> Int {
    guard free.suffix &+ free.nextPrefix >= Shape.block, length(of: block) > 0 else {
      return block &+ 1
    }
    return max(block &+ 1, end(ofRunFrom: start(of: block, in: bitmap)) &>> Shape.blockOrder)
  }

  /// Visits the blocks in rows, lowest first, but for those that are free and have a free block
  /// behind them: the first and the last of each row. O(long runs), although there may be any
  /// number of blocks.
  func forEachRowOfOthers(in bitmap: borrowing GranuleBitmap, _ body: (Int, Int) -> Void) {
    var first = 0
    var next = next(from: 0)
    while let block = next {
      // The run starts in the block, so not all before it is free. Of the blocks behind, the last
      // may be free in part, and so has the one before a neighbour that is not all free.
      body(first, block)
      let end = end(ofRunFrom: start(of: block, in: bitmap))
      first = max(block + 1, end >> Shape.blockOrder - 1)
      next = self.next(from: block + 1)
    }
    if first < tree.leafCount { body(first, tree.leafCount - 1) }
  }

  /// The children of a node below which long runs start.
  @inline(__always)
  func children(of node: Int) -> UInt64 { bits[node] }

  /// The start of the shortest long run of at least `length` granules, the lowest of equals. The
  /// runs are known by length; where not all are yet, O(long runs).
  func best(_ length: Int, in bitmap: borrowing GranuleBitmap) -> Int? {
    let block =
      switch byLength {
      case .some(let trie): trie.shortest(length, lengths)
      case nil: nil as Int?
      }
    return (isBuiltByLength ? block : best(length, orIn: block)).map { start(of: $0, in: bitmap) }
  }

  /// The block of the best of the runs that are not known by length and the one in `known`.
  private func best(_ length: Int, orIn known: Int?) -> Int? {
    var best = known
    var least = known.map { lengths[$0] } ?? .max
    var block = builtCount
    while block < tree.leafCount, least > length {
      let node = tree.node(over: block)
      var children = bits[node] & (~0 &<< UInt64(truncatingIfNeeded: tree.child(block)))
      while children != 0 {
        let candidate = tree.firstLeaf(under: node) &+ children.trailingZeroBitCount
        if lengths[candidate] >= length, lengths[candidate] < least {
          best = candidate
          least = lengths[candidate]
        }
        children &= children &- 1
      }
      block = tree.firstLeaf(under: node &+ 1)
    }
    return best
  }

  // MARK: Keeping up

  /// Records that the long run `start ..< end` lost `first ..< last`.
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
    guard old != length else { return }
    // The trie reads lengths on its way: it goes first where one goes, last where one comes.
    if old != 0, block < builtCount { byLength?.remove(block, lengths) }
    lengths[block] = length
    if length != 0, block < builtCount { byLength?.insert(block, lengths) }
    guard (old == 0) != (length == 0) else { return }
    var node = tree.node(over: block)
    var child = tree.child(block)
    while true {
      let word = bits[node]
      let bit: UInt64 = 1 &<< UInt64(truncatingIfNeeded: child)
      let changed = length != 0 ? word | bit : word & ~bit
      bits[node] = changed
      // The nodes above say "some" or "none".
      guard (word == 0) != (changed == 0), node > 0 else { return }
      (node, child) = tree.parent(of: node)
    }
  }

  /// Starts to know the runs by length; false without memory.
  mutating func knowByLength() -> Bool {
    guard let trie = LengthTrie<Shape>(blocks: tree.leafCount, lengthsUpTo: limit) else {
      return false
    }
    byLength = consume trie
    return true
  }

  /// Whether all are known by length.
  var isBuiltByLength: Bool { builtCount == tree.leafCount }

  /// Gets to know a step more by length. Of a trie a step is a few runs.
  mutating func buildByLength() {
    var count = max(1, Shape.buildStep >> 2, tree.leafCount >> 7)
    while count > 0, let block = next(from: builtCount) {
      byLength?.insert(block, lengths)
      builtCount = block + 1
      count -= 1
    }
    if count > 0 { builtCount = tree.leafCount }
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
    case .some(let trie): trie.brokenRule(lengths, upTo: builtCount)
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
  private let rooms: NumberTable<Shape>

  /// The rooms of the places `phase` modulo 2^`order`; nil without memory. O(long runs).
  init?(order: Int, phase: Int, runs: borrowing LongRuns<Shape>, bitmap: borrowing GranuleBitmap) {
    let count = runs.tree.nodeCount
    guard let rooms = NumberTable<Shape>(count: count, upTo: bitmap.count.rawValue)
    else { return nil }
    self.order = order
    self.phase = phase
    self.rooms = rooms
    fill(under: 0, runs, bitmap)
  }

  /// The rooms where every granule is a place, in an arena where they were planned. O(long runs).
  init(
    runs: borrowing LongRuns<Shape>, bitmap: borrowing GranuleBitmap, in arena: inout Arena
  ) {
    order = 0
    phase = 0
    rooms = NumberTable(count: runs.tree.nodeCount, upTo: bitmap.count.rawValue, in: &arena)
    fill(under: 0, runs, bitmap)
  }

  /// Plans the tables of such rooms.
  static func plan(count: Int, in plan: inout ArenaPlan) {
    let tree = NodeTree<Shape>(granules: count)
    NumberTable<Shape>.plan(count: tree.nodeCount, upTo: count, in: &plan)
  }

  private mutating func fill(
    under node: Int, _ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap
  ) {
    var children = node < runs.tree.firstLow ? runs.children(of: node) : 0
    while children != 0 {
      let child = runs.tree.node(under: node, child: children.trailingZeroBitCount)
      fill(under: child, runs, bitmap)
      children &= children &- 1
    }
    rooms[node] = most(under: node, runs, bitmap)
  }

  /// The memory this takes, in bytes.
  var byteCount: Int { rooms.byteCount }

  /// The most room of all.
  @inline(__always)
  var longest: Int { rooms[0] }

  /// The most room of all but the long run that starts in `block`. Constant time a level.
  func longest(
    _ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap, except block: Int
  ) -> Int {
    var room = 0
    var node = runs.tree.node(over: block)
    var child = runs.tree.child(block)
    while true {
      room = max(room, most(under: node, runs, bitmap, except: child))
      guard node > 0 else { return room }
      (node, child) = runs.tree.parent(of: node)
    }
  }

  /// The lowest place with `length` free granules in a long run; nil when there is none. Constant
  /// time a child and level.
  func first(
    _ length: Int, _ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap
  ) -> Int? {
    guard length <= longest else { return nil }
    return rooms.isWide
      ? first(length, runs, bitmap, UInt64.self) : first(length, runs, bitmap, UInt32.self)
  }

  @inline(__always)
  private func first<Word: FixedWidthInteger & BitwiseCopyable>(
    _ length: Int, _ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap,
    _ word: Word.Type
  ) -> Int {
    var node = 0
    while node < runs.tree.firstLow {
      var children = runs.children(of: node)
      while rooms[
        runs.tree.node(under: node, child: children.trailingZeroBitCount), word] < length
      {
        children &= children &- 1
      }
      node = runs.tree.node(under: node, child: children.trailingZeroBitCount)
    }
    var children = runs.children(of: node)
    while true {
      let block = runs.tree.firstLeaf(under: node) &+ children.trailingZeroBitCount
      if room(block, runs, bitmap, word) >= length { return place(block, runs, bitmap) }
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
  ) -> Int {
    var children = runs.children(of: node)
    if let except { children &= ~(1 &<< UInt64(truncatingIfNeeded: except)) }
    return rooms.isWide
      ? most(of: children, under: node, runs, bitmap, UInt64.self)
      : most(of: children, under: node, runs, bitmap, UInt32.self)
  }

  @inline(__always)
  private func most<Word: FixedWidthInteger & BitwiseCopyable>(
    of children: UInt64, under node: Int, _ runs: borrowing LongRuns<Shape>,
    _ bitmap: borrowing GranuleBitmap, _ word: Word.Type
  ) -> Int {
    if node < runs.tree.firstLow {
      let first = runs.tree.node(under: node, child: 0)
      return Self.most(of: children) { rooms[first &+ $0, word] }
    }
    let first = runs.tree.firstLeaf(under: node)
    // Most of the time every granule is a place.
    if order == 0 { return Self.most(of: children) { runs.length(of: first &+ $0, word) } }
    return Self.most(of: children) { room(first &+ $0, runs, bitmap, word) }
  }

  @inline(__always)
  private static func most(of children: UInt64, _ room: (Int) -> Int) -> Int {
    var most = 0
    var children = children
    while children != 0 {
      most = max(most, room(children.trailingZeroBitCount))
      children &= children &- 1
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
  private func room<Word: FixedWidthInteger & BitwiseCopyable>(
    _ block: Int, _ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap,
    _ word: Word.Type
  ) -> Int {
    let length = runs.length(of: block, word)
    if order == 0 { return length }
    return max(0, length &- (place(block, runs, bitmap) &- runs.start(of: block, in: bitmap)))
  }

  /// The first rule that does not hold; nil when all do. The front's run counts from where it was
  /// recorded.
  func brokenRule(
    _ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap, front: Front<Shape>
  ) -> String? {
    var most = [Int](repeating: 0, count: runs.tree.nodeCount)
    for block in 0..<runs.tree.leafCount where runs.length(of: block) > 0 {
      let isFront = front.isActive && block == front.block
      let start = isFront ? front.floor : runs.start(of: block, in: bitmap)
      let lost = (phase &- start) & ((1 &<< order) &- 1)
      let room = max(0, runs.length(of: block) &- lost)
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
