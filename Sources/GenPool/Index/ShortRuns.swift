/// The free runs shorter than a block, by length: for the best fit.
///
/// For each length, a tree of bits over the blocks: 1 where a run of that length starts in the block,
/// and above, where one starts below. A node's words for all lengths lie side by side.
///
/// They are built block by block, in steps: of the blocks that are not built no run is known.
///
/// Invariant: bits are as said for the bitmap as it is; `present` has a bit for each length that
/// occurs.
struct ShortRuns<Shape: IndexShape>: ~Copyable {
  private let tree: NodeTree<Shape>
  private let bits: Table<UInt64>
  private var present: UInt64 = 0
  /// The runs that start in so many blocks, from the lowest on, are known.
  private var builtCount: Int

  /// No runs in the blocks of `tree`; nil without memory. They are built if `isEmpty`: nothing is
  /// allocated, and all is one run.
  init?(_ tree: NodeTree<Shape>, isEmpty: Bool) {
    guard let bits = Table<UInt64>(count: tree.nodeCount << Shape.blockOrder) else { return nil }
    self.tree = tree
    self.bits = bits
    builtCount = isEmpty ? max(0, tree.leafCount - 1) : 0
  }

  /// Whether all is built.
  @inline(__always)
  var isBuilt: Bool { builtCount == tree.leafCount }

  /// Builds a step more.
  mutating func build(_ runs: borrowing LongRuns<Shape>, in bitmap: borrowing GranuleBitmap) {
    let step = max(Shape.buildStep, tree.leafCount >> 8)
    var blockCount = 0
    var runCount = 0
    builtCount = runs.firstBlock(from: builtCount, in: bitmap)
    while builtCount < tree.leafCount, blockCount < step, runCount < 4 * step {
      let number = builtCount
      let block = FreeBlock<Shape>(number, in: bitmap)
      var firsts = block.firsts(continues: bitmap.bit(number << Shape.blockOrder - 1) == 0)
      builtCount = runs.block(behind: number, block, in: bitmap)
      while firsts != 0 {
        let position = firsts.trailingZeroBitCount
        let length = block.length(ofRunFrom: position)
        if length < Shape.block { insert(number << Shape.blockOrder + position, length) }
        firsts &= firsts - 1
        runCount += 1
      }
      blockCount += 1
    }
  }

  /// The memory this takes, in bytes.
  var byteCount: Int { bits.byteCount }

  /// The least length from `length` on that occurs; nil when none does.
  @inline(__always)
  private func shortest(_ length: Int) -> Int? {
    let longer = length < 64 ? present & (~0 &<< UInt64(truncatingIfNeeded: length)) : 0
    return longer == 0 ? nil : longer.trailingZeroBitCount
  }

  /// The start of the shortest short run of at least `length` granules, the lowest of equals.
  /// Constant time a level.
  @inline(__always)
  func best(_ length: Int, in bitmap: borrowing GranuleBitmap) -> Int? {
    guard let length = shortest(length) else { return nil }
    var node = 0
    var child = self[0, length].trailingZeroBitCount
    for _ in 1..<tree.depth {
      node = tree.node(under: node, child: child)
      child = self[node, length].trailingZeroBitCount
    }
    let block = tree.firstLeaf(under: node) &+ child
    return block &<< Shape.blockOrder
      &+ starts(ofMaximalRun: length, in: block, bitmap).trailingZeroBitCount
  }

  /// The same while not all is built, given the reach from any granule. O(blocks outside long
  /// runs).
  @inline(never)
  func bestWhileBuilding(
    _ length: Int, _ reach: borrowing ReachTree<Shape>, _ runs: borrowing LongRuns<Shape>,
    in bitmap: borrowing GranuleBitmap
  ) -> Int? {
    guard length < Shape.block else { return nil }
    var best = best(length, in: bitmap)
    var limit = shortest(length) ?? Shape.block
    guard limit > length else { return best }
    let first = runs.firstBlock(from: builtCount, in: bitmap)
    reach.forEachBlock(from: first, reaching: length) { number in
      let block = FreeBlock<Shape>(number, in: bitmap)
      var starts = block.starts(
        ofRunsFrom: length, below: limit,
        continues: bitmap.bit(number &<< Shape.blockOrder &- 1) == 0)
      while starts != 0 {
        let position = starts.trailingZeroBitCount
        let length = block.length(ofRunFrom: position)
        if length < limit {
          limit = length
          best = number &<< Shape.blockOrder &+ position
        }
        starts &= starts &- 1
      }
      return limit > length ? runs.block(behind: number, block, in: bitmap) : tree.leafCount
    }
    return best
  }

  /// Records that a run of `length` granules, less than a block, starts at `start`, unless that is
  /// still to be built. Constant time a level.
  @inline(__always)
  mutating func insert(_ start: Int, _ length: Int) {
    guard start &>> Shape.blockOrder < builtCount else { return }
    var node = tree.node(over: start &>> Shape.blockOrder)
    var child = tree.child(start &>> Shape.blockOrder)
    while true {
      let there = self[node, length]
      self[node, length] = there | 1 &<< UInt64(truncatingIfNeeded: child)
      guard node > 0 else { break }
      (node, child) = tree.parent(of: node)
    }
    present |= 1 &<< UInt64(truncatingIfNeeded: length)
  }

  /// Records that a run of `length` granules, less than a block, that started at `start`, is gone
  /// from the bitmap. Constant time a level.
  @inline(__always)
  mutating func remove(_ start: Int, _ length: Int, in bitmap: borrowing GranuleBitmap) {
    let block = start &>> Shape.blockOrder
    guard starts(ofMaximalRun: length, in: block, bitmap) == 0 else { return }
    var node = tree.node(over: block)
    var child = tree.child(block)
    while true {
      let left = self[node, length] & ~(1 &<< UInt64(truncatingIfNeeded: child))
      self[node, length] = left
      guard left == 0 else { return }
      guard node > 0 else { break }
      (node, child) = tree.parent(of: node)
    }
    present &= ~(1 &<< UInt64(truncatingIfNeeded: length))
  }

  @inline(__always)
  private subscript(node: Int, length: Int) -> UInt64 {
    get { bits[node &<< Shape.blockOrder &+ length] }
    nonmutating set { bits[node &<< Shape.blockOrder &+ length] = newValue }
  }

  @inline(__always)
  private func starts(
    ofMaximalRun length: Int, in block: Int, _ bitmap: borrowing GranuleBitmap
  ) -> UInt64 {
    FreeBlock<Shape>(block, in: bitmap).starts(
      ofMaximalRun: length,
      continues: bitmap.freeCount(before: block &<< Shape.blockOrder) > 0)
  }

  /// The first rule that does not hold; nil when all do. O(granules + blocks × lengths).
  func brokenRule(in bitmap: borrowing GranuleBitmap) -> String? {
    guard var fresh = Self(tree, isEmpty: false) else { return nil }
    fresh.builtCount = builtCount
    bitmap.forEachFreeRun { run in
      if run.count.rawValue < Shape.block { fresh.insert(run.first.rawValue, run.count.rawValue) }
      return true
    }
    if fresh.present != present { return "the lengths that occur are present" }
    for index in 0..<bits.count where bits[index] != fresh.bits[index] {
      return "a bit for each length and block in which such a run starts"
    }
    return nil
  }
}
