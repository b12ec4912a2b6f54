/// For one alignment, where the lowest place for up to a block's length of granules is.
///
/// A *place* is a granule whose index is `phase` modulo 2^`order`. A leaf is a block that has
/// places (every block, or every 2^(order − blockOrder)-th). Its *reach* is the longest free run
/// from any place in it, counted up to a block's length, so that it depends on two blocks and
/// nothing else; its byte is what the reach *lacks* of a block's length. Above the leaves stand
/// minima. The lowest block with a byte ≤ block − n holds the lowest place for n granules.
///
/// So zeroed memory says that all is free: of a chunk's tree only what is not takes memory and
/// time.
///
/// Invariant: every leaf is as said, every byte above is the least below it; in a node that has
/// leaves below, a byte that has none is a block's length; ``longest`` is the longest reach of all.
@safe
struct ReachTree<Shape: IndexShape>: ~Copyable {
  /// Places in a block that has any.
  private let positions: UInt64
  /// The first block that has places, and the binary logarithm of the distance to the next.
  private let firstBlock: Int
  private let strideOrder: Int
  let order: Int
  let phase: Int

  let tree: NodeTree<Shape>
  let bytes: Table<UInt8>
  /// The longest run from any place, up to a block's length.
  private(set) var longest: UInt8 = 0

  /// The tree of the places `phase` modulo 2^`order` in `bitmap`, whose long runs are `runs`; nil
  /// without memory for it. O(blocks outside long runs).
  init?(
    order: Int, phase: Int, runs: borrowing LongRuns<Shape>, bitmap: borrowing GranuleBitmap
  ) {
    let tree = Self.tree(order: order, phase: phase, blocks: runs.tree.leafCount)
    guard let bytes = Table<UInt8>(count: Self.byteCount(tree)) else { return nil }
    self.init(order: order, phase: phase, tree, bytes)
    fill(runs, bitmap)
  }

  /// The tree where every granule is a place, in an arena where it was planned.
  init(
    runs: borrowing LongRuns<Shape>, bitmap: borrowing GranuleBitmap, in arena: inout Arena
  ) {
    let tree = runs.tree
    self.init(order: 0, phase: 0, tree, arena.table(Self.byteCount(tree)))
    fill(runs, bitmap)
  }

  /// Plans the table of such a tree.
  static func plan(count: Int, in plan: inout ArenaPlan) {
    _ = plan.place(UInt8.self, byteCount(NodeTree<Shape>(granules: count)))
  }

  private init(
    order: Int, phase: Int, _ tree: NodeTree<Shape>, _ bytes: consuming Table<UInt8>
  ) {
    var positions: UInt64 = 0
    let inBlock = phase & (Shape.block &- 1)
    for position in stride(from: inBlock, to: Shape.block, by: 1 << min(order, 6)) {
      positions |= 1 << UInt64(position)
    }
    self.positions = positions
    self.order = order
    self.phase = phase
    firstBlock = phase >> Shape.blockOrder
    strideOrder = max(0, order - Shape.blockOrder)
    self.tree = tree
    self.bytes = bytes
  }

  private static func tree(order: Int, phase: Int, blocks: Int) -> NodeTree<Shape> {
    let strideOrder = max(0, order - Shape.blockOrder)
    let first = phase >> Shape.blockOrder
    return NodeTree(leafCount: max(0, (blocks - first + (1 << strideOrder) - 1) >> strideOrder))
  }

  private static func byteCount(_ tree: NodeTree<Shape>) -> Int { tree.capacity << Shape.fanOrder }

  /// Makes the tree what it is to be, from bytes that all are zero.
  private mutating func fill(_ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap) {
    // What has no leaf below is to the right of all that has.
    var node = tree.firstLow
    var count = tree.leafCount
    while true {
      let nodes = max(1, (count + Shape.fan - 1) >> Shape.fanOrder)
      let first = node << Shape.fanOrder
      bytes.fill(first + count..<first + nodes << Shape.fanOrder, withBytes: Self.nothing)
      guard node > 0 else { break }
      count = nodes
      node = tree.parent(of: node).node
    }
    if order > 0, tree.leafCount > 0, tree.leafCount <= 16 * Shape.buildStep {
      rebuild(0, runs.tree.leafCount - 1, inside: nil, in: bitmap)
    } else {
      runs.forEachRowOfOthers(in: bitmap) { first, last in
        rebuild(first, last, inside: nil, in: bitmap)
      }
    }
    noteLongest(Shape.least(in: bytes(of: 0), except: Shape.fan))
  }

  /// The byte where no place is free.
  static var nothing: UInt8 { UInt8(truncatingIfNeeded: Shape.block) }

  @inline(__always)
  mutating func noteLongest(_ least: UInt8) { longest = Self.nothing &- least }

  /// The memory this takes, in bytes.
  var byteCount: Int { bytes.byteCount }

  @inline(__always)
  func bytes(of node: Int) -> NodeBytes {
    unsafe NodeBytes(bytes.pointer(to: node &<< Shape.fanOrder))
  }

  // MARK: Searching

  /// The lowest leaf with a place for `length` granules, 1 to a block's length; nil when there is
  /// none. Constant time a level.
  @inline(__always)
  func firstLeaf(_ length: Int) -> Int? {
    let length = UInt8(truncatingIfNeeded: length)
    guard length <= longest else { return nil }
    let place = Shape.descend(
      to: Self.nothing &- length, in: bytes(of: 0), depth: tree.depth, nodeCount: tree.nodeCount)
    return place &- tree.firstLow &<< Shape.fanOrder
  }

  /// The lowest place for `length` granules, 1 to a block's length; nil when there is none.
  @inline(__always)
  func first(_ length: Int, in bitmap: borrowing GranuleBitmap) -> Int? {
    guard let leaf = firstLeaf(length) else { return nil }
    let block = firstBlock &+ leaf &<< strideOrder
    let position = FreeBlock<Shape>(block, in: bitmap).firstStart(ofRun: length, among: positions)
    return block &<< Shape.blockOrder &+ position
  }

  /// The same where every granule is a place; and brings the tree up to date as if those granules
  /// were allocated, unless they are part of a run of a block's length or more.
  @inline(__always)
  mutating func takeFirst(
    _ length: Int, in bitmap: borrowing GranuleBitmap
  ) -> (first: Int, isTaken: Bool)? {
    guard let leaf = firstLeaf(length) else { return nil }
    let block = FreeBlock<Shape>(leaf, in: bitmap)
    let byte = bytes[tree.node(over: leaf) &<< Shape.fanOrder &+ tree.child(leaf)]
    guard byte > 0 else {
      let position = block.firstStart(ofRun: length, among: Shape.everyPosition)
      return (leaf &<< Shape.blockOrder &+ position, false)
    }
    let (position, reach) = block.takingFirst(length)
    let first = leaf &<< Shape.blockOrder &+ position
    // The granule before a first fit is not free: no reach but this block's and the next's changes.
    lower(leaf, to: Self.lack(reach))
    let rest = position &+ length &- Shape.block
    if rest > 0 {
      let behind = FreeBlock<Shape>(leaf &+ 1, withoutLowest: rest, in: bitmap)
      lower(leaf &+ 1, to: Self.lack(behind.reach))
    }
    return (first, true)
  }

  /// Visits the blocks from `block` on with a run of `length` granules, 1 to a block's length, from
  /// any granule, lowest first. `body` gives the block to go on from. Every granule is a place.
  /// O(blocks / 64) and the visits.
  @inline(__always)
  func forEachBlock(from block: Int, reaching length: Int, _ body: (Int) -> Int) {
    guard length <= longest else { return }
    let most = Self.nothing &- UInt8(truncatingIfNeeded: length)
    var next = block
    while next < tree.leafCount {
      let node = tree.node(over: next)
      let first = tree.firstLeaf(under: node)
      let children =
        Shape.within(most, in: bytes(of: node))
        & (~0 &<< UInt64(truncatingIfNeeded: tree.child(next)))
      next = first &+ Shape.fan
      var left = children
      while left != 0 {
        let after = body(first &+ left.trailingZeroBitCount)
        guard after < first &+ Shape.fan else {
          next = after
          break
        }
        left = children & (~0 &<< UInt64(truncatingIfNeeded: after &- first))
      }
    }
  }

  // MARK: Keeping up

  /// Brings the tree up to date after granules were allocated, given the blocks in which the reach
  /// of any granule may have shrunk. Constant time a block and level.
  @inline(__always)
  mutating func lower(_ first: Int, _ last: Int, in bitmap: borrowing GranuleBitmap) {
    guard last &- first < 3 else {
      return rebuild(first, last, inside: Self.nothing, in: bitmap)
    }
    var block = first
    repeat {
      if let leaf = leaf(of: block) { lower(leaf, to: lack(of: block, in: bitmap)) }
      block &+= 1
    } while block <= last
  }

  @inline(__always)
  mutating func lower(_ leaf: Int, to lack: UInt8) {
    // Two levels always, although most of the time nothing changes above: a branch that is guessed, and
    // decided only here, costs more.
    var node = tree.node(over: leaf)
    var least = replace(tree.child(leaf), of: node, by: lack)
    if node > 0 {
      var (parent, child) = tree.parent(of: node)
      least = replace(child, of: parent, by: least)
      while parent > 0 {
        node = parent
        (parent, child) = tree.parent(of: node)
        guard bytes[parent &<< Shape.fanOrder &+ child] != least else { return }
        least = replace(child, of: parent, by: least)
      }
    }
    noteLongest(least)
  }

  /// Sets a byte of a node; the node's least.
  @inline(__always)
  func replace(_ child: Int, of node: Int, by value: UInt8) -> UInt8 {
    // Before the store: a wide load right behind a narrow store would wait for it.
    let siblings = Shape.least(in: bytes(of: node), except: child)
    bytes[node &<< Shape.fanOrder &+ child] = value
    return min(value, siblings)
  }

  /// Brings the tree up to date after granules were freed, given the blocks in which the reach of
  /// any granule may have grown. Constant time a block and level.
  @inline(__always)
  mutating func raise(_ first: Int, _ last: Int, in bitmap: borrowing GranuleBitmap) {
    guard last &- first < 3 else { return rebuild(first, last, inside: 0, in: bitmap) }
    var block = first
    repeat {
      if let leaf = leaf(of: block) { raise(leaf, toLack: lack(of: block, in: bitmap)) }
      block &+= 1
    } while block <= last
  }

  /// The same where every granule is a place, given the free run `start ..< end`, shorter than a
  /// block, that the freed granules are part of.
  @inline(__always)
  mutating func raise(_ first: Int, _ last: Int, byRunFrom start: Int, to end: Int) {
    var block = first
    repeat {
      let reach = end &- max(start, block &<< Shape.blockOrder)
      raise(block, to: reach)
      block &+= 1
    } while block <= last
  }

  /// The same for any places.
  mutating func raise(_ first: Int, _ last: Int, byPlacesOf start: Int, to end: Int) {
    var block = first
    repeat {
      if let leaf = leaf(of: block) {
        let lack = lack(from: start, to: end, in: block)
        if lack < Self.nothing { raise(leaf, toLack: lack) }
      }
      block &+= 1
    } while block <= last
  }

  /// Brings the tree up to date after a part of the free run `start ..< end`, shorter than a block, was
  /// allocated, given the blocks in which it lies. Where another run reaches further, nothing changes.
  mutating func lower(
    _ first: Int, _ last: Int, byPlacesOf start: Int, to end: Int,
    in bitmap: borrowing GranuleBitmap
  ) {
    var block = first
    repeat {
      if let leaf = leaf(of: block) {
        let index = tree.node(over: leaf) &<< Shape.fanOrder &+ tree.child(leaf)
        let byte = bytes[index]
        if byte == lack(from: start, to: end, in: block), byte < Self.nothing {
          lower(leaf, to: lack(of: block, in: bitmap))
        }
      }
      block &+= 1
    } while block <= last
  }

  /// How far the free run `start ..< end`, shorter than a block, reaches from its first place in a
  /// block: as the block's byte.
  @inline(__always)
  private func lack(from start: Int, to end: Int, in block: Int) -> UInt8 {
    let first = block &<< Shape.blockOrder
    let from = max(start, first)
    let place =
      from &+ (positions &>> UInt64(truncatingIfNeeded: from &- first)).trailingZeroBitCount
    return Self.lack(max(0, end &- place))
  }

  /// The same where a leaf is known to reach so far.
  @inline(__always)
  mutating func raise(_ leaf: Int, to reach: Int) { raise(leaf, toLack: Self.lack(reach)) }

  @inline(__always)
  private mutating func raise(_ leaf: Int, toLack lack: UInt8) {
    longest = max(longest, Self.nothing &- lack)
    var node = tree.node(over: leaf)
    raiseByte(node &<< Shape.fanOrder &+ tree.child(leaf), to: lack)
    guard node > 0 else { return }
    // Always, although it may change nothing: a branch that is guessed costs more.
    var (parent, child) = tree.parent(of: node)
    raiseByte(parent &<< Shape.fanOrder &+ child, to: lack)
    while parent > 0 {
      node = parent
      (parent, child) = tree.parent(of: node)
      let index = parent &<< Shape.fanOrder &+ child
      guard bytes[index] > lack else { return }
      bytes[index] = lack
    }
  }

  @inline(__always)
  private func raiseByte(_ index: Int, to lack: UInt8) {
    bytes[index] = min(bytes[index], lack)
  }

  /// Brings many blocks up to date, each node above them once. `inside`: the byte of those that
  /// have two others on either side, if it is known.
  @inline(never)
  private mutating func rebuild(
    _ first: Int, _ last: Int, inside: UInt8?, in bitmap: borrowing GranuleBitmap
  ) {
    var low = firstLeaf(from: first)
    var high = firstLeaf(from: last &+ 1) &- 1
    guard low <= high else { return }
    // Of each level `low ... high` are brought up to date, of which `known ..< knownEnd` are known.
    var (known, knownEnd) = (low, low)
    if inside != nil {
      known = firstLeaf(from: first &+ 2)
      knownEnd = max(known, firstLeaf(from: last &- 1))
    }
    var node = tree.firstLow
    fillKnown(known, knownEnd, of: node, with: inside)
    forEach(low, high, except: known, knownEnd) { leaf in
      let block = firstBlock &+ leaf &<< strideOrder
      bytes[node &<< Shape.fanOrder &+ leaf] = lack(of: block, in: bitmap)
    }
    while node > 0 {
      let parent = tree.parent(of: node).node
      low &>>= Shape.fanOrder
      high &>>= Shape.fanOrder
      known = (known &+ Shape.fan &- 1) &>> Shape.fanOrder
      knownEnd = max(known, knownEnd &>> Shape.fanOrder)
      fillKnown(known, knownEnd, of: parent, with: inside)
      forEach(low, high, except: known, knownEnd) { child in
        bytes[parent &<< Shape.fanOrder &+ child] = Shape.least(
          in: bytes(of: node &+ child), except: Shape.fan)
      }
      node = parent
    }
    noteLongest(Shape.least(in: bytes(of: 0), except: Shape.fan))
  }

  /// Sets bytes of the level whose first node is `node`.
  private func fillKnown(_ known: Int, _ end: Int, of node: Int, with byte: UInt8?) {
    guard known < end, let byte else { return }
    let first = node &<< Shape.fanOrder
    bytes.fill(first &+ known..<first &+ end, withBytes: byte)
  }

  @inline(__always)
  private func forEach(
    _ low: Int, _ high: Int, except known: Int, _ knownEnd: Int, _ body: (Int) -> Void
  ) {
    var child = low
    while child <= high {
      if child == known, known < knownEnd {
        child = knownEnd
      } else {
        body(child)
        child &+= 1
      }
    }
  }

  /// The first leaf whose block is `block` or behind it.
  @inline(__always)
  private func firstLeaf(from block: Int) -> Int {
    max(0, (block &- firstBlock &+ (1 &<< strideOrder) &- 1) &>> strideOrder)
  }

  @inline(__always)
  private func leaf(of block: Int) -> Int? {
    let distance = block &- firstBlock
    guard distance & ((1 &<< strideOrder) &- 1) == 0, distance >= 0 else { return nil }
    return distance &>> strideOrder
  }

  @inline(__always)
  private func lack(of block: Int, in bitmap: borrowing GranuleBitmap) -> UInt8 {
    Self.lack(FreeBlock<Shape>(block, in: bitmap).reach(from: positions))
  }

  /// The byte that says `reach`.
  @inline(__always)
  static func lack(_ reach: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: Shape.block &- reach)
  }

  // MARK: Checking

  /// The first rule that does not hold; nil when all do. O(granules).
  func brokenRule(in bitmap: borrowing GranuleBitmap, front: Front<Shape>) -> String? {
    for leaf in 0..<tree.leafCount {
      let start = (firstBlock + leaf << strideOrder) << Shape.blockOrder
      var longest = 0
      for position in 0..<Shape.block where positions >> UInt64(position) & 1 == 1 {
        let place = start + position
        let end = min(place + Shape.block, bitmap.count.rawValue)
        longest = max(longest, front.nextAllocated(from: place, limit: end, in: bitmap) - place)
      }
      let byte = bytes[tree.node(over: leaf) << Shape.fanOrder + tree.child(leaf)]
      if Shape.block - Int(byte) != longest {
        return "a block's byte is what its longest run from a place lacks"
      }
    }
    var node = tree.firstLow
    var count = tree.leafCount
    while true {
      let nodes = max(1, (count + Shape.fan - 1) >> Shape.fanOrder)
      for child in count..<nodes << Shape.fanOrder
      where bytes[node << Shape.fanOrder + child] != Self.nothing {
        return "a byte without a leaf below is a block's length"
      }
      let parent = node > 0 ? tree.parent(of: node).node : 0
      for number in 0..<nodes {
        var least = Self.nothing
        for child in 0..<Shape.fan {
          least = min(least, bytes[(node + number) << Shape.fanOrder + child])
        }
        if node == 0 {
          if Self.nothing - least != longest { return "the longest reach is the root's least byte" }
        } else if bytes[parent << Shape.fanOrder + number] != least {
          return "a byte above is the least below"
        }
      }
      guard node > 0 else { return nil }
      count = nodes
      node = parent
    }
  }
}
