/// The long runs by length, and where equal by place: which is the shortest that is long enough?
///
/// Runs of 2^c to 2^(c + 1) − 1 granules are class c. Cut the chunk into cells of 2^c granules: two
/// runs of class c never start in one cell. So within the class, the c low bits of the length and the
/// cell's number are a key of no more bits than a granule's index has. Each class is a trie over
/// these keys with one run in every node, as Doug Lea's malloc has for its large chunks: it needs no
/// balance, and no way in it is longer than the key.
///
/// Invariant: every long run is in the trie of its class, once, below nodes with which its key shares
/// the bits that lead there.
struct LengthTrie<Shape: IndexShape>: ~Copyable {
  /// For each block the two nodes below the run that starts there; block + 1, 0 for none.
  private let children: NumberTable<Shape>
  /// For each class its highest node; block + 1, 0 for none.
  private let roots: NumberTable<Shape>
  /// The classes that have runs.
  private var classes: UInt64 = 0
  /// The bits of a granule's index.
  private let indexBits: Int

  /// No runs yet; nil without memory for `blocks` of them. `limit`: that of their lengths, whose
  /// width the blocks' numbers share.
  init?(blocks: Int, lengthsUpTo limit: Int) {
    guard let children = NumberTable<Shape>(count: 2 * blocks, upTo: limit),
      let roots = NumberTable<Shape>(count: 64, upTo: limit)
    else { return nil }
    self.children = children
    self.roots = roots
    indexBits = Int.bitWidth - (blocks << Shape.blockOrder).leadingZeroBitCount
  }

  /// The memory this takes, in bytes.
  var byteCount: Int { children.byteCount + roots.byteCount }

  /// Where the number of a node is kept.
  private enum Link {
    case root(Int)
    case child(Int)
  }

  @inline(__always)
  private subscript<Word: FixedWidthInteger & BitwiseCopyable>(link: Link, word: Word.Type) -> Int {
    get {
      switch link {
      case .root(let order): roots[order, word]
      case .child(let index): children[index, word]
      }
    }
    nonmutating set {
      switch link {
      case .root(let order): roots[order, word] = newValue
      case .child(let index): children[index, word] = newValue
      }
    }
  }

  private static func order(_ length: Int) -> Int { 63 &- length.leadingZeroBitCount }

  /// The key, its first bit the highest of the word.
  private func key(_ length: Int, _ block: Int) -> UInt64 {
    let order = Self.order(length)
    let cell = UInt64(truncatingIfNeeded: block &>> (order &- Shape.blockOrder))
    let bits = max(indexBits &- order, 0)
    let low = UInt64(truncatingIfNeeded: length) & (1 &<< UInt64(order) &- 1)
    return (low &<< UInt64(bits) | cell) << UInt64(64 - order - bits)
  }

  private func side(_ key: UInt64) -> Int { Int(truncatingIfNeeded: key &>> 63) }

  /// The link that holds `block`, or the empty one where it belongs.
  @inline(__always)
  private func link<Word: FixedWidthInteger & BitwiseCopyable>(
    _ block: Int, _ length: Int, _ word: Word.Type
  ) -> Link {
    var link = Link.root(Self.order(length))
    var key = key(length, block)
    while true {
      let node = self[link, word] &- 1
      guard node >= 0, node != block else { return link }
      link = .child(2 &* node &+ side(key))
      key &<<= 1
    }
  }

  /// Adds the run that starts in `block`. O(bits of an index).
  mutating func insert(_ block: Int, _ lengths: borrowing NumberTable<Shape>) {
    lengths.isWide ? insert(block, lengths, UInt64.self) : insert(block, lengths, UInt32.self)
  }

  private mutating func insert<Word: FixedWidthInteger & BitwiseCopyable>(
    _ block: Int, _ lengths: borrowing NumberTable<Shape>, _ word: Word.Type
  ) {
    self[link(block, lengths[block, word], word), word] = block &+ 1
    classes |= 1 << UInt64(Self.order(lengths[block, word]))
  }

  /// Takes out the run that starts in `block`. O(bits of an index).
  mutating func remove(_ block: Int, _ lengths: borrowing NumberTable<Shape>) {
    lengths.isWide ? remove(block, lengths, UInt64.self) : remove(block, lengths, UInt32.self)
  }

  private mutating func remove<Word: FixedWidthInteger & BitwiseCopyable>(
    _ block: Int, _ lengths: borrowing NumberTable<Shape>, _ word: Word.Type
  ) {
    let place = link(block, lengths[block, word], word)
    // Any node without children below takes the place: it shares the bits that lead here.
    var last = place
    while true {
      let node = self[last, word] &- 1
      if children[2 &* node, word] != 0 {
        last = .child(2 &* node)
      } else if children[2 &* node &+ 1, word] != 0 {
        last = .child(2 &* node &+ 1)
      } else {
        break
      }
    }
    let heir = self[last, word]
    self[last, word] = 0
    if heir &- 1 != block {
      self[place, word] = heir
      for side in 0...1 {
        children[2 &* (heir &- 1) &+ side, word] = children[2 &* block &+ side, word]
        children[2 &* block &+ side, word] = 0
      }
    }
    let order = Self.order(lengths[block, word])
    if roots[order, word] == 0 { classes &= ~(1 << UInt64(order)) }
  }

  /// The block in which the shortest run of at least `length` granules starts, the lowest of equals.
  /// O(bits of an index).
  func shortest(_ length: Int, _ lengths: borrowing NumberTable<Shape>) -> Int? {
    lengths.isWide
      ? shortest(length, lengths, UInt64.self) : shortest(length, lengths, UInt32.self)
  }

  private func shortest<Word: FixedWidthInteger & BitwiseCopyable>(
    _ length: Int, _ lengths: borrowing NumberTable<Shape>, _ word: Word.Type
  ) -> Int? {
    var best: Int?
    func consider(_ block: Int) {
      guard lengths[block, word] >= length else { return }
      if let other = best, (lengths[other, word], other) <= (lengths[block, word], block) { return }
      best = block
    }
    // Where the way to (length, 0) goes left, all to the right is longer or higher: the last such
    // subtree has the least of it.
    let order = Self.order(length)
    var key = key(length, 0)
    var node = roots[order, word] &- 1
    var above = -1
    while node >= 0 {
      consider(node)
      if side(key) == 0, children[2 &* node &+ 1, word] != 0 {
        above = children[2 &* node &+ 1, word] &- 1
      }
      node = children[2 &* node &+ side(key), word] &- 1
      key &<<= 1
    }
    if above < 0, best == nil {
      let longer = classes & (~1 << UInt64(order))
      guard longer != 0 else { return nil }
      above = roots[longer.trailingZeroBitCount, word] &- 1
    }
    // The least of a subtree is its highest node or on the left.
    while above >= 0 {
      consider(above)
      let left = children[2 &* above, word] &- 1
      above = left >= 0 ? left : children[2 &* above &+ 1, word] &- 1
    }
    return best
  }

  /// The first rule that does not hold for the runs that start in the first `count` blocks; nil when
  /// all do.
  func brokenRule(_ lengths: borrowing NumberTable<Shape>, upTo count: Int) -> String? {
    var found = 0
    for block in 0..<count where lengths[block] != 0 {
      let node =
        lengths.isWide
        ? self[link(block, lengths[block], UInt64.self), UInt64.self]
        : self[link(block, lengths[block], UInt32.self), UInt32.self]
      guard node == block + 1 else {
        return "every long run is where its key leads"
      }
      found += 1
    }
    var present = 0
    for order in 0..<64 where roots[order] != 0 {
      if classes >> UInt64(order) & 1 == 0 { return "a class with runs is marked" }
      present += 1
    }
    if present != classes.nonzeroBitCount { return "a class without runs is not marked" }
    for index in 0..<children.count where children[index] != 0 { present += 1 }
    return present == found ? nil : "nothing else is in the tries"
  }
}
