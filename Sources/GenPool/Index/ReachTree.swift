/// For one alignment, where the lowest place for up to a block's length of granules is.
///
/// A *place* is a granule whose index is `phase` modulo 2^`order`. A leaf is a block that has places
/// (every block, or every 2^(order − blockOrder)-th); its byte is the longest free run from any place
/// in it, counted up to a block's length, so that it depends on two blocks and nothing else. Above
/// the leaves stand maxima. The lowest block with a byte ≥ n holds the lowest place for n granules.
///
/// Invariant: every leaf is as said, every byte above is the largest below it, ``longest`` the
/// largest of all.
@safe
struct ReachTree<Shape: IndexShape>: ~Copyable {
  /// Places in a block that has any.
  private let positions: UInt64
  /// The first block that has places, and the binary logarithm of the distance to the next.
  private let firstBlock: Int
  private let strideOrder: Int
  let order: Int
  let phase: Int

  private let tree: NodeTree<Shape>
  private let bytes: Table<UInt8>
  /// The longest run from any place, up to a block's length.
  private(set) var longest: UInt8 = 0

  /// The tree of the places `phase` modulo 2^`order` in `bitmap`; nil without memory for it.
  /// O(blocks).
  init?(order: Int, phase: Int, bitmap: borrowing GranuleBitmap) {
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
    let blocks = (bitmap.count.rawValue + Shape.block - 1) >> Shape.blockOrder
    let leaves = max(0, (blocks - firstBlock + (1 << strideOrder) - 1) >> strideOrder)
    tree = NodeTree(leafCount: leaves)
    guard let bytes = Table<UInt8>(count: tree.capacity << Shape.fanOrder) else { return nil }
    self.bytes = bytes
    if blocks > 0 { rebuild(0, blocks - 1, in: bitmap) }
  }

  /// The memory this takes, in bytes.
  var byteCount: Int { bytes.byteCount }

  @inline(__always)
  private func bytes(of node: Int) -> NodeBytes {
    unsafe NodeBytes(bytes.pointer(to: node &<< Shape.fanOrder))
  }

  // MARK: Searching

  /// The lowest leaf with a place for `length` granules, 1 to a block's length; nil when there is
  /// none. Constant time a level.
  @inline(__always)
  private func firstLeaf(_ length: Int) -> Int? {
    let length = UInt8(truncatingIfNeeded: length)
    guard length <= longest else { return nil }
    let place = Shape.descend(
      to: length, in: bytes(of: 0), depth: tree.depth, nodeCount: tree.nodeCount)
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
    guard Int(byte) < Shape.block else {
      let position = block.firstStart(ofRun: length, among: Shape.everyPosition)
      return (leaf &<< Shape.blockOrder &+ position, false)
    }
    let (position, reach) = block.takingFirst(length)
    let first = leaf &<< Shape.blockOrder &+ position
    // The granule before a first fit is not free: no reach but this block's and the next's changes.
    lower(leaf, to: UInt8(truncatingIfNeeded: reach))
    let rest = position &+ length &- Shape.block
    if rest > 0 {
      let behind = FreeBlock<Shape>(leaf &+ 1, withoutLowest: rest, in: bitmap)
      lower(leaf &+ 1, to: UInt8(truncatingIfNeeded: behind.reach))
    }
    return (first, true)
  }

  // MARK: Keeping up

  /// Brings the tree up to date after granules were allocated, given the blocks in which the reach
  /// of any granule may have shrunk. Constant time a block and level.
  @inline(__always)
  mutating func lower(_ first: Int, _ last: Int, in bitmap: borrowing GranuleBitmap) {
    guard last &- first < 3 else { return rebuild(first, last, in: bitmap) }
    var block = first
    repeat {
      if let leaf = leaf(of: block) { lower(leaf, to: reach(of: block, in: bitmap)) }
      block &+= 1
    } while block <= last
  }

  @inline(__always)
  private mutating func lower(_ leaf: Int, to reach: UInt8) {
    // Two levels always, although most of the time nothing changes above: a branch that is guessed, and
    // decided only here, costs more.
    var node = tree.node(over: leaf)
    var largest = replace(tree.child(leaf), of: node, by: reach)
    if node > 0 {
      var (parent, child) = tree.parent(of: node)
      largest = replace(child, of: parent, by: largest)
      while parent > 0 {
        node = parent
        (parent, child) = tree.parent(of: node)
        guard bytes[parent &<< Shape.fanOrder &+ child] != largest else { return }
        largest = replace(child, of: parent, by: largest)
      }
    }
    longest = largest
  }

  /// Sets a byte of a node; the node's largest.
  @inline(__always)
  private func replace(_ child: Int, of node: Int, by value: UInt8) -> UInt8 {
    // Before the store: a wide load right behind a narrow store would wait for it.
    let siblings = Shape.longest(in: bytes(of: node), except: child)
    bytes[node &<< Shape.fanOrder &+ child] = value
    return max(value, siblings)
  }

  /// Brings the tree up to date after granules were freed, given the blocks in which the reach of
  /// any granule may have grown. Constant time a block and level.
  @inline(__always)
  mutating func raise(_ first: Int, _ last: Int, in bitmap: borrowing GranuleBitmap) {
    guard last &- first < 3 else { return rebuild(first, last, in: bitmap) }
    var block = first
    repeat {
      if let leaf = leaf(of: block) { raise(leaf, to: reach(of: block, in: bitmap)) }
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
      raise(block, to: UInt8(truncatingIfNeeded: reach))
      block &+= 1
    } while block <= last
  }

  /// The same for any places.
  mutating func raise(_ first: Int, _ last: Int, byPlacesOf start: Int, to end: Int) {
    var block = first
    repeat {
      if let leaf = leaf(of: block) {
        let reach = reach(from: start, to: end, in: block)
        if reach > 0 { raise(leaf, to: reach) }
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
        if bytes[index] == reach(from: start, to: end, in: block), bytes[index] > 0 {
          lower(leaf, to: reach(of: block, in: bitmap))
        }
      }
      block &+= 1
    } while block <= last
  }

  /// How far the free run `start ..< end`, shorter than a block, reaches from its first place in a block.
  @inline(__always)
  private func reach(from start: Int, to end: Int, in block: Int) -> UInt8 {
    let first = block &<< Shape.blockOrder
    let from = max(start, first)
    let place =
      from &+ (positions &>> UInt64(truncatingIfNeeded: from &- first)).trailingZeroBitCount
    return UInt8(truncatingIfNeeded: max(0, end &- place))
  }

  @inline(__always)
  mutating func raise(_ leaf: Int, to reach: UInt8) {
    longest = max(longest, reach)
    var node = tree.node(over: leaf)
    raiseByte(node &<< Shape.fanOrder &+ tree.child(leaf), to: reach)
    guard node > 0 else { return }
    // Always, although it may change nothing: a branch that is guessed costs more.
    var (parent, child) = tree.parent(of: node)
    raiseByte(parent &<< Shape.fanOrder &+ child, to: reach)
    while parent > 0 {
      node = parent
      (parent, child) = tree.parent(of: node)
      let index = parent &<< Shape.fanOrder &+ child
      guard bytes[index] < reach else { return }
      bytes[index] = reach
    }
  }

  @inline(__always)
  private func raiseByte(_ index: Int, to reach: UInt8) {
    bytes[index] = max(bytes[index], reach)
  }

  /// Brings many blocks up to date, each node above them once.
  @inline(never)
  private mutating func rebuild(_ first: Int, _ last: Int, in bitmap: borrowing GranuleBitmap) {
    let step = 1 &<< strideOrder
    var low = max(0, (first &- firstBlock &+ step &- 1) &>> strideOrder)
    var high = last < firstBlock ? -1 : (last &- firstBlock) &>> strideOrder
    guard low <= high else { return }
    for leaf in low...high {
      let block = firstBlock &+ leaf &<< strideOrder
      bytes[tree.node(over: leaf) &<< Shape.fanOrder &+ tree.child(leaf)] =
        reach(of: block, in: bitmap)
    }
    low = tree.node(over: low)
    high = tree.node(over: high)
    while low > 0 {
      for node in low...high {
        let (parent, child) = tree.parent(of: node)
        bytes[parent &<< Shape.fanOrder &+ child] = Shape.longest(
          in: bytes(of: node), except: Shape.fan)
      }
      low = tree.parent(of: low).node
      high = tree.parent(of: high).node
    }
    longest = Shape.longest(in: bytes(of: 0), except: Shape.fan)
  }

  @inline(__always)
  private func leaf(of block: Int) -> Int? {
    let distance = block &- firstBlock
    guard distance & ((1 &<< strideOrder) &- 1) == 0, distance >= 0 else { return nil }
    return distance &>> strideOrder
  }

  @inline(__always)
  private func reach(of block: Int, in bitmap: borrowing GranuleBitmap) -> UInt8 {
    UInt8(truncatingIfNeeded: FreeBlock<Shape>(block, in: bitmap).reach(from: positions))
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
      if Int(byte) != longest { return "a block's byte is its longest run from a place" }
    }
    for node in 0..<tree.nodeCount {
      var largest: UInt8 = 0
      for child in 0..<Shape.fan { largest = max(largest, bytes[node << Shape.fanOrder + child]) }
      if node == 0 {
        if largest != longest { return "the longest run is the root's largest byte" }
      } else {
        let (parent, child) = tree.parent(of: node)
        // The last level above the leaves has gaps where no node is needed.
        if bytes[parent << Shape.fanOrder + child] != largest {
          return "a byte above is the largest below"
        }
      }
    }
    return nil
  }
}
