/// The free runs shorter than a block, by length: for the best fit.
///
/// For each length, a tree of bits over the blocks: 1 where a run of that length starts in the block,
/// and above, where one starts below. A node's words for all lengths lie side by side.
///
/// Invariant: bits are as said for the bitmap as it is; `present` has a bit for each length that
/// occurs.
struct ShortRuns<Shape: IndexShape>: ~Copyable {
  private let tree: NodeTree<Shape>
  private let bits: Table<UInt64>
  private var present: UInt64 = 0

  private init?(empty tree: NodeTree<Shape>) {
    guard let bits = Table<UInt64>(count: tree.nodeCount << Shape.blockOrder) else { return nil }
    self.tree = tree
    self.bits = bits
  }

  /// The short runs of `bitmap`, whose long ones are `runs`; nil without memory. O(granules outside
  /// long runs).
  init?(bitmap: borrowing GranuleBitmap, runs: borrowing LongRuns<Shape>) {
    self.init(empty: runs.tree)
    var start = bitmap.nextFree(from: 0)
    while start < bitmap.count.rawValue {
      let block = start >> Shape.blockOrder
      let isLong = runs.length(of: block) > 0 && runs.start(of: block, in: bitmap) == start
      let end =
        isLong
        ? runs.end(ofRunFrom: start)
        : bitmap.nextAllocated(from: start, limit: bitmap.count.rawValue)
      if !isLong { insert(start, end - start) }
      start = bitmap.nextFree(from: end)
    }
  }

  /// The memory this takes, in bytes.
  var byteCount: Int { bits.byteCount }

  /// The start of the shortest short run of at least `length` granules, the lowest of equals.
  /// Constant time a level.
  @inline(__always)
  func best(_ length: Int, in bitmap: borrowing GranuleBitmap) -> Int? {
    let longer = length < 64 ? present & (~0 &<< UInt64(truncatingIfNeeded: length)) : 0
    guard longer != 0 else { return nil }
    let length = longer.trailingZeroBitCount
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

  /// Records that a run of `length` granules, less than a block, starts at `start`. Constant time a
  /// level.
  @inline(__always)
  mutating func insert(_ start: Int, _ length: Int) {
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
    guard var fresh = Self(empty: tree) else { return nil }
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
