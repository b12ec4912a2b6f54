import CGenPoolInline

/// The measures of an index, and how it reads a node of bytes: a parameter, so that tests can have
/// worlds of a few granules that reach every border and level, and the code of other machines.
package protocol IndexShape {
  /// A block is 2^blockOrder granules, at most 64.
  static var blockOrder: Int { get }
  /// A node has 2^fanOrder children, at most 64.
  static var fanOrder: Int { get }

  /// The largest length of a run, in granules, that takes 32 bits; chunks of more have lengths of
  /// 64. At most 2^32 − 1.
  static var narrowLimit: Int { get }

  /// The blocks of a step in which what is asked for late is built, or a small part of all.
  static var buildStep: Int { get }

  /// Which bytes of a node are at most `most`, 0 to 126: bit i for child i.
  static func within(_ most: UInt8, in node: NodeBytes) -> UInt64

  /// The least byte of a node, child `child` apart.
  static func least(in node: NodeBytes, except child: Int) -> UInt8

  /// Down a tree of bytes of `depth` levels and `nodeCount` nodes, in each level to the first child
  /// of at most `most`, which there is: the number of the last byte, counted from the root's first.
  static func descend(to most: UInt8, in root: NodeBytes, depth: Int, nodeCount: Int) -> Int

  /// The lowest of the blocks `first ..< end` with a run of `length` granules, 1 to a block's length,
  /// from one of `positions` on; nil when there is none. O(blocks).
  static func block(
    from first: Int, to end: Int, withRunOf length: Int, from positions: UInt64,
    in bitmap: borrowing GranuleBitmap
  ) -> Int?

  /// A node of entries of four bytes has 2^lineOrder children, at most 16.
  static var lineOrder: Int { get }

  /// The first entry of a node whose byte `lane` is at most `lack`, of which there is one.
  static func first(lacking lack: UInt8, _ lane: Int, in line: LineEntries) -> Int

  /// For each of the four sets of positions in `positions`, the longest run of `bits` from any of
  /// them on, up to 63: a byte each, the first's the lowest.
  static func reachesInside(_ bits: UInt64, from positions: OrderPositions) -> UInt32

  /// The least of each byte of a node's entries, child `child` apart.
  static func least(in line: LineEntries, except child: Int) -> UInt32
}

/// The 2^fanOrder bytes of a node.
// SAFETY: made by ReachTree alone, from a table that outlives the call it is made for.
@safe
package struct NodeBytes {
  fileprivate let bytes: UnsafePointer<UInt8>

  @inline(__always)
  init(_ bytes: UnsafePointer<UInt8>) { unsafe self.bytes = bytes }

  @inline(__always)
  package subscript(child: Int) -> UInt8 { unsafe bytes[child] }

  /// The node that starts `count` bytes further on.
  @inline(__always)
  fileprivate func advanced(by count: Int) -> Self { unsafe Self(bytes + count) }

  /// Eight children, the lowest in the lowest byte.
  @inline(__always)
  fileprivate func eight(_ index: Int) -> UInt64 {
    unsafe UInt64(
      littleEndian: UnsafeRawPointer(bytes).load(
        fromByteOffset: index &* 8, as: UInt64.self))
  }
}

extension IndexShape {
  /// Granules in a block.
  @inline(__always)
  static var block: Int { 1 &<< blockOrder }
  /// Children of a node.
  @inline(__always)
  static var fan: Int { 1 &<< fanOrder }
  @inline(__always)
  package static var narrowLimit: Int { Int(truncatingIfNeeded: UInt32.max) }
  /// A tenth of a millisecond.
  package static var buildStep: Int { 8 << 10 }

  @inline(__always)
  package static func descend(
    to most: UInt8, in root: NodeBytes, depth: Int, nodeCount: Int
  ) -> Int {
    var place = within(most, in: root).trailingZeroBitCount
    for _ in 1..<depth {
      let node = (place &+ 1) &<< fanOrder
      place = node &+ within(most, in: root.advanced(by: node)).trailingZeroBitCount
    }
    return place
  }

  package static func block(
    from first: Int, to end: Int, withRunOf length: Int, from positions: UInt64,
    in bitmap: borrowing GranuleBitmap
  ) -> Int? {
    for block in first..<max(first, end)
    where FreeBlock<Self>(block, in: bitmap).firstStart(ofRun: length, among: positions) < 64 {
      return block
    }
    return nil
  }

  @inline(__always)
  package static var lineOrder: Int { min(fanOrder, 4) }
  /// Children of a node of entries.
  @inline(__always)
  static var line: Int { 1 &<< lineOrder }

  @inline(__always)
  package static func first(lacking lack: UInt8, _ lane: Int, in line: LineEntries) -> Int {
    var child = 0
    while line[child] &>> UInt32(8 &* lane) & 0xff > UInt32(lack) { child &+= 1 }
    return child
  }

  @inline(__always)
  package static func reachesInside(_ bits: UInt64, from positions: OrderPositions) -> UInt32 {
    let runs = Doublings(bits)
    var reaches: UInt32 = 0
    for lane in 0..<4 {
      let reach = runs.longest(from: positions[lane])
      reaches |= UInt32(truncatingIfNeeded: reach &<< (8 &* lane))
    }
    return reaches
  }

  @inline(__always)
  package static func least(in line: LineEntries, except child: Int) -> UInt32 {
    var least = SIMD4<UInt8>(repeating: .max)
    for other in 0..<self.line where other != child {
      let lanes = unsafe unsafeBitCast(line[other], to: SIMD4<UInt8>.self)
      least.replace(with: lanes, where: lanes .< least)
    }
    return unsafe unsafeBitCast(least, to: UInt32.self)
  }

  /// All positions of a block.
  @inline(__always)
  static var everyPosition: UInt64 { ~0 &>> UInt64(truncatingIfNeeded: 64 &- block) }
}

/// Blocks of a word, nodes of a cache line, eight children at a time in a general register: what
/// machines other than x86-64 and arm64 use.
package enum PortableShape: IndexShape {
  @inline(__always)
  package static var blockOrder: Int { 6 }
  @inline(__always)
  package static var fanOrder: Int { 6 }

  @inline(__always)
  package static func within(_ most: UInt8, in node: NodeBytes) -> UInt64 {
    let high: UInt64 = 0x8080_8080_8080_8080
    let limits = (UInt64(most) &* 0x0101_0101_0101_0101) | high
    var mask: UInt64 = 0
    for index in 0..<8 {
      // Bytes are below 128, so no borrow leaves its byte: the high bit stays where byte ≤ most.
      let kept = (limits &- node.eight(index)) & high
      // The product moves the eight high bits side by side into the top byte.
      mask |= (((kept &>> 7) &* 0x0102_0408_1020_4080) &>> 56) &<< UInt64(index &* 8)
    }
    return mask
  }

  @inline(__always)
  package static func least(in node: NodeBytes, except child: Int) -> UInt8 {
    var lanes = SIMD8<UInt8>(repeating: .max)
    for index in 0..<8 {
      var bytes = node.eight(index)
      if index == child &>> 3 { bytes |= 0xff &<< UInt64((child & 7) &* 8) }
      let eight = unsafe unsafeBitCast(bytes, to: SIMD8<UInt8>.self)
      lanes.replace(with: eight, where: eight .< lanes)
    }
    return lanes.min()
  }
}

/// The same with the vectors that every machine of its kind has: SSE2, NEON.
package enum VectorShape: IndexShape {
  @inline(__always)
  package static var blockOrder: Int { 6 }
  @inline(__always)
  package static var fanOrder: Int { 6 }

  @inline(__always)
  package static func within(_ most: UInt8, in node: NodeBytes) -> UInt64 {
    #if arch(x86_64) || arch(arm64)
      unsafe gp_line_within(node.bytes, most)
    #else
      PortableShape.within(most, in: node)
    #endif
  }

  @inline(__always)
  package static func least(in node: NodeBytes, except child: Int) -> UInt8 {
    #if arch(x86_64) || arch(arm64)
      unsafe gp_line_least(node.bytes, UInt8(truncatingIfNeeded: child))
    #else
      PortableShape.least(in: node, except: child)
    #endif
  }

  package static func block(
    from first: Int, to end: Int, withRunOf length: Int, from positions: UInt64,
    in bitmap: borrowing GranuleBitmap
  ) -> Int? {
    bitmap.firstWord(from: first, to: end, withRunOf: length, from: positions)
  }

  @inline(__always)
  package static func first(lacking lack: UInt8, _ lane: Int, in line: LineEntries) -> Int {
    #if arch(x86_64) || arch(arm64)
      unsafe Int(gp_entries_first(line.entries, lack, UInt32(truncatingIfNeeded: lane)))
    #else
      PortableShape.first(lacking: lack, lane, in: line)
    #endif
  }

  @inline(__always)
  package static func least(in line: LineEntries, except child: Int) -> UInt32 {
    #if arch(x86_64) || arch(arm64)
      unsafe gp_entries_least(line.entries, UInt32(truncatingIfNeeded: child))
    #else
      PortableShape.least(in: line, except: child)
    #endif
  }
}

/// What the pool uses: vectors, and longer ones where the machine turns out to have them.
package enum NativeShape: IndexShape {
  @inline(__always)
  package static var blockOrder: Int { VectorShape.blockOrder }
  @inline(__always)
  package static var fanOrder: Int { VectorShape.fanOrder }

  @inline(__always)
  package static func within(_ most: UInt8, in node: NodeBytes) -> UInt64 {
    VectorShape.within(most, in: node)
  }

  @inline(__always)
  package static func least(in node: NodeBytes, except child: Int) -> UInt8 {
    VectorShape.least(in: node, except: child)
  }

  package static func block(
    from first: Int, to end: Int, withRunOf length: Int, from positions: UInt64,
    in bitmap: borrowing GranuleBitmap
  ) -> Int? {
    VectorShape.block(from: first, to: end, withRunOf: length, from: positions, in: bitmap)
  }

  @inline(__always)
  package static func first(lacking lack: UInt8, _ lane: Int, in line: LineEntries) -> Int {
    VectorShape.first(lacking: lack, lane, in: line)
  }

  @inline(__always)
  package static func reachesInside(_ bits: UInt64, from positions: OrderPositions) -> UInt32 {
    #if arch(x86_64)
      if gp_has_avx2() { return unsafe gp_reaches_inside_avx2(bits, positions.places) }
    #endif
    return VectorShape.reachesInside(bits, from: positions)
  }

  @inline(__always)
  package static func least(in line: LineEntries, except child: Int) -> UInt32 {
    VectorShape.least(in: line, except: child)
  }

  @inline(__always)
  package static func descend(
    to most: UInt8, in root: NodeBytes, depth: Int, nodeCount: Int
  ) -> Int {
    #if arch(x86_64)
      // The short vectors' way is in line; this one is a call, because only it may use AVX2.
      if gp_has_avx2() {
        return unsafe Int(gp_descend_avx2(root.bytes, depth, nodeCount, most))
      }
    #endif
    return VectorShape.descend(to: most, in: root, depth: depth, nodeCount: nodeCount)
  }
}

/// The levels of a complete tree over `leafCount` leaves, whose nodes have 2^`fanOrder` children:
/// the number of the first node of the lowest level, the number of nodes, and that of levels.
func levels(
  over leafCount: Int, fanOrder: Int
) -> (firstLow: Int, nodeCount: Int, depth: Int) {
  var firstLow = 0
  var width = 1
  var depth = 1
  while width << fanOrder < leafCount {
    firstLow += width
    width <<= fanOrder
    depth += 1
  }
  return (firstLow, firstLow + max(1, (leafCount + (1 << fanOrder) - 1) >> fanOrder), depth)
}

/// A complete tree of nodes over a row of leaves, without a pointer: node 0 is the root, child c of
/// node i is node fan × i + 1 + c, the leaves are the children of the lowest level's nodes.
struct NodeTree<Shape: IndexShape> {
  /// How many leaves.
  let leafCount: Int
  /// The number of the first node of the lowest level.
  let firstLow: Int
  /// How many nodes.
  let nodeCount: Int
  /// The number of nodes that there is room for: a search that reads several at once finds five in
  /// a tree of two levels.
  var capacity: Int { depth == 2 ? max(nodeCount, 5) : nodeCount }
  /// How many levels of nodes, at least 1.
  let depth: Int

  /// The tree over the blocks of `granules`.
  init(granules: Int) {
    self.init(leafCount: (granules + Shape.block - 1) >> Shape.blockOrder)
  }

  init(leafCount: Int) {
    self.leafCount = leafCount
    (firstLow, nodeCount, depth) = levels(over: leafCount, fanOrder: Shape.fanOrder)
  }

  /// The lowest level's node above a leaf.
  @inline(__always)
  func node(over leaf: Int) -> Int { firstLow &+ leaf &>> Shape.fanOrder }

  /// Which child of its node a leaf is.
  @inline(__always)
  func child(_ leaf: Int) -> Int { leaf & (Shape.fan &- 1) }

  /// The first leaf under a node of the lowest level.
  @inline(__always)
  func firstLeaf(under node: Int) -> Int { (node &- firstLow) &<< Shape.fanOrder }

  /// The node that is child `child` of `node`, which is above the lowest level.
  @inline(__always)
  func node(under node: Int, child: Int) -> Int { node &<< Shape.fanOrder &+ 1 &+ child }

  /// The node above `node`, which is not the root, and which child of it `node` is.
  @inline(__always)
  func parent(of node: Int) -> (node: Int, child: Int) {
    ((node &- 1) &>> Shape.fanOrder, (node &- 1) & (Shape.fan &- 1))
  }
}
