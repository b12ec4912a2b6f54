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
    firstBlock = phase >> Shape.blockOrder
    strideOrder = max(0, order - Shape.blockOrder)
    let blocks = (bitmap.count.rawValue + Shape.block - 1) >> Shape.blockOrder
    let leaves = max(0, (blocks - firstBlock + (1 << strideOrder) - 1) >> strideOrder)
    tree = NodeTree(leafCount: leaves)
    guard let bytes = Table<UInt8>(count: tree.nodeCount << Shape.fanOrder) else { return nil }
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
    var node = 0
    var child = Shape.reaching(length, in: bytes(of: 0)).trailingZeroBitCount
    var depth = tree.depth
    while depth > 1 {
      node = tree.node(under: node, child: child)
      child = Shape.reaching(length, in: bytes(of: node)).trailingZeroBitCount
      depth &-= 1
    }
    return tree.firstLeaf(under: node) &+ child
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
    let position = block.firstStart(ofRun: length, among: Shape.everyPosition)
    let first = leaf &<< Shape.blockOrder &+ position
    let byte = bytes[tree.node(over: leaf) &<< Shape.fanOrder &+ tree.child(leaf)]
    guard Int(byte) < Shape.block else { return (first, false) }
    // The granule before a first fit is not free: no reach but this block's and the next's changes.
    let left = block.without(length, from: position)
    lower(leaf, to: UInt8(truncatingIfNeeded: left.reach))
    if position &+ length > Shape.block {
      let behind = FreeBlock<Shape>(bits: left.next, behind: leaf &+ 1, in: bitmap)
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
    var value = reach
    var node = tree.node(over: leaf)
    var child = tree.child(leaf)
    while true {
      let index = node &<< Shape.fanOrder &+ child
      let (parent, place) = tree.parent(of: node)
      // Where another child holds the node's maximum, all above stays.
      let maximum = node == 0 ? longest : bytes[parent &<< Shape.fanOrder &+ place]
      guard bytes[index] == maximum else {
        bytes[index] = value
        return
      }
      // Before the store: a wide load right behind a narrow store would wait for it.
      let siblings = Shape.longest(in: bytes(of: node), except: child)
      bytes[index] = value
      value = max(value, siblings)
      guard node > 0 else { break }
      (node, child) = (parent, place)
    }
    longest = value
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

  @inline(__always)
  private mutating func raise(_ leaf: Int, to reach: UInt8) {
    var node = tree.node(over: leaf)
    let index = node &<< Shape.fanOrder &+ tree.child(leaf)
    bytes[index] = max(bytes[index], reach)
    while node > 0 {
      let (parent, child) = tree.parent(of: node)
      let index = parent &<< Shape.fanOrder &+ child
      guard bytes[index] < reach else { return }
      bytes[index] = reach
      node = parent
    }
    longest = max(longest, reach)
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
  func brokenRule(in bitmap: borrowing GranuleBitmap) -> String? {
    for leaf in 0..<tree.leafCount {
      let start = (firstBlock + leaf << strideOrder) << Shape.blockOrder
      var longest = 0
      for position in 0..<Shape.block where positions >> UInt64(position) & 1 == 1 {
        let place = start + position
        let end = min(place + Shape.block, bitmap.count.rawValue)
        longest = max(longest, bitmap.nextAllocated(from: place, limit: end) - place)
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
