/// A chunk's bitmap and an index of its free runs: the kernel's answers, bit for bit, in bounded
/// time.
///
/// The bitmap is the truth. Beside it, the chunk is cut into *blocks* of a word's 64 granules:
///
/// - **Reach** (``ReachTree``): for each block the longest free run from any of its granules,
///   counted up to 64. It depends on the block and the next one alone, so that a change touches the
///   byte of the block, and that of the one before at most. The lowest block whose byte is ≥ n has
///   the first fit for n ≤ 64 granules; a tree of maxima with 64 children, one cache line a node,
///   leads there.
/// - **Long runs** (``LongRuns``): runs of 64 and more by the block in which they start, which no
///   two share; a tree of bits finds the run around a granule, one of maxima the first that is long
///   enough.
/// - **Aligned places** (``OrderTree``): for four alignments together, what the longest run from an
///   aligned granule of a block lacks; each node says it of all four, so that they change together.
///   Above a block's length an alignment has a tree of reach of its own, and longer runs their own
///   maxima (``Rooms``). Once asked for.
/// - **Best fit** (``ShortRuns``, ``LengthTrie``): for each length below 64 a tree of bits, where
///   runs of exactly that length start; a trie by length and place for the others. Once asked for.
///
/// Trees that are first needed when much is allocated are built in steps, one with each call that
/// needs them, so that none waits for all; until they are built, such a call scans the bitmap's
/// words, several at a time.
///
/// A search goes down one tree; a change brings the trees above two or three blocks up to date.
/// There is no other scan and no retry; of what changed nothing is left for later but one number
/// (``Front``), which makes pools fast that are empty or filled from below. Cost: O(log₆₄ granules)
/// cache lines for a search or a change of up to 64 granules, O(log₁₆ granules) where alignments
/// were asked for, and 1/64 of an operation for each granule more.
///
/// Memory beside the bitmap, in bits a granule: 0.66 for first fit; 0.53 for the alignments of 2 to
/// 16 granules, as much for those of 32 and 64, and 0.14 for all others together; 2.0 for best fit.
/// From 2^32 granules on, lengths take twice as much. All of zeroed memory says "free": what was
/// never used of a chunk takes no memory, and no time when it is made. Without an alignment and
/// best fit, all lies in one piece.
///
/// Invariant: every part is, after every change, what it would be if made anew from the bitmap, as
/// far as it is built; only the front's run may be recorded as longer than it is.
package struct RunIndex<Shape: IndexShape>: ~Copyable {
  /// The truth. For reading.
  package internal(set) var bitmap: GranuleBitmap
  var runs: LongRuns<Shape>
  /// Every granule is a place: the first fit's.
  var places: Places<Shape>
  /// The alignments up to a block that were asked for, four together, of two phases: 0 and
  /// ``phase``.
  private var orders = Collected<OrderTree<Shape>>(capacity: 4)
  private var knownOrders = KnownOrders()
  /// Those above a block.
  private var sparse = Collected<ReachTree<Shape>>(capacity: 2 * Int.bitWidth)
  /// The alignments for which more than a block was asked for.
  private var alignedRooms = Collected<Rooms<Shape>>(capacity: 2 * Int.bitWidth)
  private var short: ShortRuns<Shape>?
  /// The lowest free run, while it is long.
  var front = Front<Shape>()
  /// Whether there is a ``short``: the best fit was asked for.
  var isByLength = false
  /// Whether all of it is built, and the long runs are known by length.
  private var isBuiltByLength = false
  /// −start of the chunk, in granules: what an aligned granule is congruent to.
  private let phase: UInt64

  /// The memory of the tables of bitmap and index.
  private let arena: Arena

  /// An index of `count` free granules; nil without memory. O(log granules): of the tables no more
  /// is touched than what is not as in zeroed memory.
  /// - Parameter origin: the virtual address of granule 0, in granules, rounded down: what
  ///   alignment is counted from.
  package init?(count: GranuleCount, origin: UInt64) {
    guard var arena = Self.arena(count.rawValue, hasBitmap: true) else { return nil }
    let bitmap = GranuleBitmap(count: count, in: &arena)
    var runs = LongRuns<Shape>(count: count.rawValue, in: &arena)
    runs.add(GranuleRun(first: .zero, count: count))
    self.init(bitmap, runs, arena, origin: origin, runCount: count.rawValue > 0 ? 1 : 0)
  }

  /// An index of `bitmap`; nil without memory. O(words), with a small constant.
  package init?(_ bitmap: consuming GranuleBitmap, origin: UInt64) {
    guard var arena = Self.arena(bitmap.count.rawValue, hasBitmap: false) else { return nil }
    var runs = LongRuns<Shape>(count: bitmap.count.rawValue, in: &arena)
    var runCount = 0
    bitmap.forEachFreeRun { run in
      runCount += 1
      runs.add(run)
      return true
    }
    self.init(bitmap, runs, arena, origin: origin, runCount: runCount)
  }

  private init(
    _ bitmap: consuming GranuleBitmap, _ runs: consuming LongRuns<Shape>, _ arena: consuming Arena,
    origin: UInt64, runCount: Int
  ) {
    places = Places(runs: runs, bitmap: bitmap, in: &arena)
    self.bitmap = bitmap
    self.runs = runs
    self.arena = arena
    self.runCount = runCount
    phase = 0 &- origin
  }

  /// Memory for the tables of `count` granules, in the order in which they are made.
  private static func arena(_ count: Int, hasBitmap: Bool) -> Arena? {
    // The map of more has no place in any address space.
    guard count < 1 << 56 else { return nil }
    var plan = ArenaPlan()
    if hasBitmap { GranuleBitmap.plan(count: count, in: &plan) }
    LongRuns<Shape>.plan(count: count, in: &plan)
    Places<Shape>.plan(count: count, in: &plan)
    return Arena(plan)
  }

  /// Whether nothing is allocated. There is no front.
  private var isEmpty: Bool { places.longest == bitmap.count.rawValue }

  /// The length of the longest free run. Constant time.
  @inline(__always)
  package var longest: GranuleCount {
    GranuleCount(front.isActive ? front.longest : places.longest)
  }

  /// Whether ``alignedRuns`` may know more than the longest run of all.
  @inline(__always)
  var hasAlignedRuns: Bool { orders.count > 0 }

  /// The longest free run from a place at a multiple of each alignment up to a block, counted from
  /// granule 0, as far as it is known. Constant time.
  @inline(__always)
  package var alignedRuns: AlignedRuns {
    var runs = AlignedRuns(longest: longest.rawValue)
    for number in 0..<orders.count where orders[number].phase == 0 {
      runs.set(orders[number].lacksOfBest, from: orders[number].firstOrder)
    }
    return runs
  }

  /// How many maximal free runs there are. Constant time.
  package internal(set) var runCount: Int

  // MARK: Searching

  // All are mutating: a `self` that is only borrowed would be copied, at the price of a search.

  /// The lowest index with `count` free granules; nil when there is none.
  package mutating func firstFit(_ count: GranuleCount) -> GranuleIndex? {
    settle()
    return places.first(count.rawValue, runs, bitmap).map { GranuleIndex($0) }
  }

  /// The lowest index with `count` free granules whose address is a multiple of 2^`order` granules,
  /// counted from the index itself if `fromChunkStart`. O(words) until what
  /// the alignment needs is built.
  package mutating func firstFit(
    _ count: GranuleCount, alignedTo order: Int, fromChunkStart: Bool = false
  ) -> GranuleIndex? {
    let length = count.rawValue
    if order > 0, order <= Shape.blockOrder, length <= Shape.block, !front.isActive {
      // Most calls, when there is a tree.
      let mask: UInt64 = 1 &<< UInt64(truncatingIfNeeded: order) &- 1
      let first = Int(truncatingIfNeeded: fromChunkStart ? 0 : phase & mask)
      let number = knownOrders.number(order, isAtStart: first == 0)
      if number >= 0 {
        return orders[number].first(length, order, in: bitmap).map { GranuleIndex($0) }
      }
    }
    return searchFirstFit(count, alignedTo: order, fromChunkStart: fromChunkStart)
  }

  /// Whether a granule is a place of an alignment, as in
  /// ``firstFit(_:alignedTo:fromChunkStart:)``.
  @inline(__always)
  func isPlace(_ index: Int, alignedTo order: Int, fromChunkStart: Bool) -> Bool {
    let mask: UInt64 = order < 64 ? 1 &<< UInt64(truncatingIfNeeded: order) &- 1 : ~0
    return (UInt64(truncatingIfNeeded: index) &- (fromChunkStart ? 0 : phase)) & mask == 0
  }

  @inline(never)
  private mutating func searchFirstFit(
    _ count: GranuleCount, alignedTo order: Int, fromChunkStart: Bool
  ) -> GranuleIndex? {
    let length = count.rawValue
    let granules = bitmap.count.rawValue
    let mask: UInt64 = order < 64 ? 1 << UInt64(order) &- 1 : ~0
    // A place above all granules is none.
    guard let first = Int(exactly: fromChunkStart ? 0 : phase & mask), first < granules
    else { return nil }
    if let place = front.place(length, mask: mask, phase: first) { return GranuleIndex(place) }
    settle()
    guard length <= places.longest else { return nil }
    if isFewPlaces(order) {
      for place in stride(from: first, to: granules, by: order < 62 ? 1 << order : granules)
      where isFree(place, length) {
        return GranuleIndex(place)
      }
      return nil
    }
    guard order > 0 else { return firstFit(count) }
    if length > Shape.block {
      if let number = rooms(order, first) {
        return alignedRooms[number].first(length, runs, bitmap).map { GranuleIndex($0) }
      }
    } else if order <= Shape.blockOrder {
      if let number = orderTree(order, first) {
        let place =
          orders[number].isBuilt
          ? orders[number].first(length, order, in: bitmap)
          : orders[number].firstWhileBuilding(length, order, in: bitmap)
        return place.map { GranuleIndex($0) }
      }
    } else if let number = sparseTree(order, first) {
      return sparse[number].first(length, in: bitmap).map { GranuleIndex($0) }
    }
    // Without memory for a tree, the scan has the same answer.
    let offset = UInt64(truncatingIfNeeded: 0 &- first) & mask
    return bitmap.firstFit(from: .zero, count: count, mask: mask, offset: offset)
  }

  /// The number of the tree for an order up to a block's, whose places are `first` modulo
  /// 2^`order`, a step further built; nil without memory for it.
  @inline(__always)
  private mutating func orderTree(_ order: Int, _ first: Int) -> Int? {
    let number = knownOrders.number(order, isAtStart: first == 0)
    return number >= 0 ? number : buildOrderTree(order, isAtStart: first == 0)
  }

  @inline(never)
  private mutating func buildOrderTree(_ order: Int, isAtStart: Bool) -> Int? {
    let firstOrder = KnownOrders.first(with: order)
    let phase = isAtStart ? 0 : Int(truncatingIfNeeded: phase & UInt64(Shape.block &- 1))
    var number = orders.number { $0.firstOrder == firstOrder && $0.phase == phase }
    if number == nil,
      let new = OrderTree<Shape>(
        firstOrder: firstOrder, phase: phase, in: bitmap, isEmpty: isEmpty)
    {
      number = orders.append(new)
    }
    guard let number else { return nil }
    orders[number].build(in: bitmap)
    if orders[number].isBuilt { knownOrders.note(number, order, isAtStart: isAtStart) }
    return number
  }

  /// The same for one above.
  private mutating func sparseTree(_ order: Int, _ first: Int) -> Int? {
    if let number = sparse.number(where: { $0.order == order && $0.phase == first }) {
      return number
    }
    guard let new = ReachTree<Shape>(order: order, phase: first, runs: runs, bitmap: bitmap) else {
      return nil
    }
    return sparse.append(new)
  }

  /// The number of the rooms for an order's places; nil without memory for them.
  private mutating func rooms(_ order: Int, _ first: Int) -> Int? {
    if let number = alignedRooms.number(where: { $0.order == order && $0.phase == first }) {
      return number
    }
    guard let new = Rooms<Shape>(order: order, phase: first, runs: runs, bitmap: bitmap) else {
      return nil
    }
    return alignedRooms.append(new)
  }

  /// The longest free run from a place that is aligned as in
  /// ``firstFit(_:alignedTo:fromChunkStart:)``. Constant time, or O(granules) where the alignment
  /// has few places; O(words) until what the alignment needs is built.
  package mutating func longest(
    alignedTo order: Int, fromChunkStart: Bool = false
  ) -> GranuleCount {
    guard order > 0 else { return longest }
    settle()
    let granules = bitmap.count.rawValue
    let mask: UInt64 = order < 64 ? 1 << UInt64(order) &- 1 : ~0
    guard let first = Int(exactly: fromChunkStart ? 0 : phase & mask), first < granules else {
      return GranuleCount(0)
    }
    if !isFewPlaces(order) {
      // A run of more than a block from a place leaves the others behind.
      if places.rooms.longest > 0, let number = rooms(order, first),
        alignedRooms[number].longest >= Shape.block
      {
        return GranuleCount(alignedRooms[number].longest)
      }
      var longest: Int?
      if order <= Shape.blockOrder {
        if let number = orderTree(order, first) {
          longest = orders[number].longest(order, in: bitmap)
        }
      } else if let number = sparseTree(order, first) {
        longest = Int(sparse[number].longest)
      }
      if let longest, longest < Shape.block { return GranuleCount(longest) }
    }
    var most = 0
    for place in stride(from: first, to: granules, by: order < 62 ? 1 << order : granules) {
      most = max(most, bitmap.nextAllocated(from: place, limit: granules) - place)
    }
    return GranuleCount(most)
  }

  /// Whether the places of an alignment are so few that they are looked at one by one.
  private func isFewPlaces(_ order: Int) -> Bool {
    order >= Shape.blockOrder && (order >= 62 || bitmap.count.rawValue >> order < Shape.fan)
  }

  /// The start of the shortest free run that holds `count` granules, the lowest of equals; nil when
  /// there is none. O(words) until what knows the runs by length is built.
  package mutating func bestFit(_ count: GranuleCount) -> GranuleIndex? {
    let length = count.rawValue
    if front.isActive, runCount == 1 { return front.place(length).map { GranuleIndex($0) } }
    settle()
    guard length <= places.longest else { return nil }
    if !isBuiltByLength, !buildByLength() { return bitmap.bestFit(from: .zero, count: count) }
    let start =
      switch short {
      case .some(let short):
        isBuiltByLength
          ? short.best(length, in: bitmap)
          : short.bestWhileBuilding(length, places.reach, runs, in: bitmap)
      case nil: nil as Int?
      }
    return (start ?? runs.best(length, in: bitmap)).map { GranuleIndex($0) }
  }

  /// Builds a step more of what knows the runs by length; false without memory for it.
  @inline(never)
  private mutating func buildByLength() -> Bool {
    if !isByLength {
      guard let new = ShortRuns<Shape>(runs.tree, isEmpty: isEmpty), runs.knowByLength() else {
        return false
      }
      short = consume new
      isByLength = true
    }
    short?.build(runs, in: bitmap)
    runs.buildByLength()
    isBuiltByLength = runs.isBuiltByLength && short?.isBuilt == true
    return true
  }

  /// Whether `run` lies in the map and is free.
  package mutating func isFree(_ run: GranuleRun) -> Bool {
    let granules = bitmap.count.rawValue
    guard run.first.rawValue >= 0, run.first.rawValue < granules,
      run.count.rawValue <= granules - run.first.rawValue
    else { return false }
    return isFree(run.first.rawValue, run.count.rawValue)
  }

  @inline(__always)
  private mutating func isFree(_ first: Int, _ length: Int) -> Bool {
    if front.isActive {
      // What is below is allocated.
      if first < front.end { return first >= front.start && length <= front.end &- first }
      recordFront()
    }
    let free = bitmap.freeCount(from: first)
    if length <= free || free < 64 { return length <= free }
    let before = bitmap.freeCount(before: first)
    let start = before < Shape.block ? first &- before : runs.start(ofRunBefore: first, in: bitmap)
    return length <= runs.end(ofRunFrom: start) &- first
  }

  // MARK: Changing

  /// Marks the lowest run of `count` granules as allocated; its start, nil when there is none. As
  /// ``firstFit(_:)`` and ``allocate(_:)``, but what one finds out saves the other work.
  @inline(__always)
  package mutating func allocateFirstFit(_ count: GranuleCount) -> GranuleIndex? {
    if front.isActive {
      if let start = front.take(count.rawValue) {
        let run = GranuleRun(first: GranuleIndex(start), count: count)
        bitmap.allocate(run)
        return run.first
      }
      recordFront()
    }
    guard count.rawValue <= Shape.block else { return allocateFirstFitOneByOne(count) }
    guard let (first, isTaken) = places.reach.takeFirst(count.rawValue, in: bitmap) else {
      return nil
    }
    let run = GranuleRun(first: GranuleIndex(first), count: count)
    guard isTaken else {
      allocateByReference(run)
      return run.first
    }
    bitmap.allocate(run)
    // A first fit is a run's lower end: what is behind it stays a run, or nothing does.
    runCount &-= bitmap.bit(run.end.rawValue)
    if isByLength || hasAligned { noteAllocation(run) }
    return run.first
  }

  /// Tells those that were asked for besides of an allocation from the lower end of a run shorter
  /// than a block.
  @inline(never)
  private mutating func noteAllocation(_ run: GranuleRun) {
    let first = run.first.rawValue
    let last = run.end.rawValue
    let behind = bitmap.freeCount(from: last)
    if isByLength { allocateInShortRun(first, last, 0, behind) }
    if hasAligned {
      let (low, high) = blocks(first, last, 0)
      lowerAligned(low, high, byRunFrom: first, to: last &+ behind)
    }
  }

  @inline(never)
  private mutating func allocateFirstFitOneByOne(_ count: GranuleCount) -> GranuleIndex? {
    guard let first = firstFit(count) else { return nil }
    allocate(GranuleRun(first: first, count: count))
    return first
  }

  @inline(never)
  private mutating func allocateByReference(_ run: GranuleRun) { allocate(run) }

  /// Marks a run as allocated. It lies in the map and is free.
  @inline(__always)
  package mutating func allocate(_ run: GranuleRun) {
    if front.isActive {
      if front.start == run.first.rawValue, front.take(run.count.rawValue) != nil {
        return bitmap.allocate(run)
      }
      recordFront()
    }
    let first = run.first.rawValue
    let last = first &+ run.count.rawValue
    let before = min(bitmap.freeCount(before: first), Shape.block)
    let behind = min(bitmap.freeCount(from: last), Shape.block)
    runCount &+= (before > 0 ? 1 : 0) &+ (behind > 0 ? 1 : 0) &- 1
    bitmap.allocate(run)
    let (low, high) = blocks(first, last, before)
    guard before &+ run.count.rawValue &+ behind >= Shape.block else {
      let (start, end) = (first &- before, last &+ behind)
      if hasAligned {
        // Whether another run reaches further is not to be guessed here.
        places.reach.lower(low, high, in: bitmap)
        lowerAligned(low, high, byRunFrom: start, to: end)
      } else {
        places.reach.lower(low, high, byPlacesOf: start, to: end, in: bitmap)
      }
      if isByLength { allocateInShortRun(first, last, before, behind) }
      return
    }
    allocateInLongRun(first, last, before, behind)
    places.reach.lower(low, high, in: bitmap)
    if hasAligned { lowerAligned(low, high) }
    if before == 0, behind >= Shape.block { makeFront(last) }
  }

  /// Marks a run as free where no more than one block knows of it: the run, and what is free around
  /// it, ends inside the block, or it goes back to the front. False when that is not so, or when
  /// not all of it is allocated: nothing has changed then. The run lies in the map.
  @inline(__always)
  package mutating func freeInsideBlock(_ run: GranuleRun) -> Bool {
    let first = run.first.rawValue
    let count = run.count.rawValue
    if front.isActive {
      // What is below a front is allocated.
      guard front.giveBack(first, first &+ count) else { return false }
      bitmap.free(run)
      return true
    }
    let block = first &>> Shape.blockOrder
    let position = first & (Shape.block &- 1)
    guard count <= Shape.block &- position else { return false }
    let word = first &>> 6
    let shift = first & 63 &- position
    let taken =
      bitmap.storedWord(word) &>> UInt64(truncatingIfNeeded: shift) & Shape.everyPosition
    let ones: UInt64 = ~0 &>> UInt64(truncatingIfNeeded: 64 &- count)
    let bits = ones &<< UInt64(truncatingIfNeeded: position)
    let below = taken & ~(~0 &<< UInt64(truncatingIfNeeded: position))
    let above = (taken & ~bits) &>> UInt64(truncatingIfNeeded: position)
    guard ~taken & bits == 0, below != 0, above != 0 else { return false }
    let before = position &- 64 &+ below.leadingZeroBitCount
    let length = before &+ above.trailingZeroBitCount
    runCount &-= (before > 0 ? 1 : 0) &+ (length > before &+ count ? 1 : 0) &- 1
    bitmap.free(bits, inWord: word, from: shift)
    places.reach.raise(block, to: length)
    if isByLength { freeIntoShortRun(first, first &+ count, before, length &- before &- count) }
    if hasAligned {
      let start = first &- before
      raiseAligned(block, block, byRunFrom: start, to: start &+ length)
    }
    return true
  }

  /// Marks a run as free. It lies in the map and is allocated.
  @inline(never)
  package mutating func free(_ run: GranuleRun) {
    let first = run.first.rawValue
    let last = first &+ run.count.rawValue
    if front.giveBack(first, last) { return bitmap.free(run) }
    settle()
    let before = min(bitmap.freeCount(before: first), Shape.block)
    let behind = min(bitmap.freeCount(from: last), Shape.block)
    runCount &-= (before > 0 ? 1 : 0) &+ (behind > 0 ? 1 : 0) &- 1
    bitmap.free(run)
    let (low, high) = blocks(first, last, before)
    if before &+ run.count.rawValue &+ behind >= Shape.block {
      freeIntoLongRun(first, last, before, behind)
      places.reach.raise(low, high, in: bitmap)
      if hasAligned { raiseAligned(low, high) }
      if before < Shape.block { makeFront(first &- before) }
    } else {
      let (start, end) = (first &- before, last &+ behind)
      places.reach.raise(low, high, byRunFrom: start, to: end)
      if isByLength { freeIntoShortRun(first, last, before, behind) }
      if hasAligned { raiseAligned(low, high, byRunFrom: start, to: end) }
    }
  }

  /// Makes the long run from `start` on the front if no run is lower.
  @inline(never)
  private mutating func makeFront(_ start: Int) {
    guard places.reach.first(1, in: bitmap) == start else {
      return
    }
    let other = places.rooms.longest(runs, bitmap, except: start >> Shape.blockOrder)
    front = Front(start, end: runs.end(ofRunFrom: start), longestOther: other)
  }

  /// Records the front's length and does without one: before all that needs to know.
  @inline(__always)
  mutating func settle() { if front.isActive { recordFront() } }

  @inline(never)
  private mutating func recordFront() {
    if front.start != front.floor {
      runs.shorten(front.block, to: front.end - front.start)
      places.rooms.update(front.block, runs, bitmap)
      for number in 0..<alignedRooms.count {
        alignedRooms[number].update(front.block, runs, bitmap)
      }
      if hasAligned { lowerAligned(front.block, front.block) }
    }
    front = Front()
  }

  /// The blocks in which the reach changes with `first ..< last`, where `before` granules, counted
  /// up to a block, are free before it: they reach into what changes.
  @inline(__always)
  private func blocks(_ first: Int, _ last: Int, _ before: Int) -> (low: Int, high: Int) {
    let block = first &>> Shape.blockOrder
    let reachesBack = before > first & (Shape.block &- 1)
    return (reachesBack ? block &- 1 : block, (last &- 1) &>> Shape.blockOrder)
  }

  /// Whether there are trees for alignments.
  @inline(__always)
  var hasAligned: Bool { orders.count &+ sparse.count > 0 }

  @inline(never)
  private mutating func lowerAligned(_ low: Int, _ high: Int) {
    for number in 0..<orders.count { orders[number].update(low, high, in: bitmap) }
    for number in 0..<sparse.count { sparse[number].lower(low, high, in: bitmap) }
  }

  @inline(never)
  private mutating func raiseAligned(_ low: Int, _ high: Int) {
    for number in 0..<orders.count { orders[number].update(low, high, in: bitmap) }
    for number in 0..<sparse.count { sparse[number].raise(low, high, in: bitmap) }
  }

  @inline(never)
  private mutating func lowerAligned(
    _ low: Int, _ high: Int, byRunFrom start: Int, to end: Int
  ) {
    for number in 0..<orders.count { orders[number].update(low, high, in: bitmap) }
    for number in 0..<sparse.count {
      sparse[number].lower(low, high, byPlacesOf: start, to: end, in: bitmap)
    }
  }

  @inline(never)
  private mutating func raiseAligned(
    _ low: Int, _ high: Int, byRunFrom start: Int, to end: Int
  ) {
    for number in 0..<orders.count { orders[number].raise(low, high, byRunFrom: start, to: end) }
    for number in 0..<sparse.count {
      sparse[number].raise(low, high, byPlacesOf: start, to: end)
    }
  }

  @inline(never)
  private mutating func allocateInShortRun(
    _ first: Int, _ last: Int, _ before: Int, _ behind: Int
  ) {
    short?.remove(first &- before, last &+ behind &- (first &- before), in: bitmap)
    if before > 0 { short?.insert(first &- before, before) }
    if behind > 0 { short?.insert(last, behind) }
  }

  @inline(never)
  private mutating func freeIntoShortRun(_ first: Int, _ last: Int, _ before: Int, _ behind: Int) {
    if before > 0 { short?.remove(first &- before, before, in: bitmap) }
    if behind > 0 { short?.remove(last, behind, in: bitmap) }
    short?.insert(first &- before, last &+ behind &- (first &- before))
  }

  @inline(never)
  private mutating func allocateInLongRun(_ first: Int, _ last: Int, _ before: Int, _ behind: Int) {
    let start = before < Shape.block ? first - before : runs.start(ofRunBefore: first, in: bitmap)
    let end = runs.end(ofRunFrom: start)
    runs.split(start, end, by: first, last)
    if isByLength {
      if first > start, first - start < Shape.block { short?.insert(start, first - start) }
      if end > last, end - last < Shape.block { short?.insert(last, end - last) }
    }
    updateRooms(start, last < bitmap.count.rawValue ? last : start)
  }

  @inline(never)
  private mutating func freeIntoLongRun(_ first: Int, _ last: Int, _ before: Int, _ behind: Int) {
    let start = before < Shape.block ? first - before : runs.start(ofRunBefore: first, in: bitmap)
    let end = behind < Shape.block ? last + behind : runs.end(ofRunFrom: last)
    if isByLength {
      if before > 0, before < Shape.block { short?.remove(start, before, in: bitmap) }
      if behind > 0, behind < Shape.block { short?.remove(last, behind, in: bitmap) }
    }
    runs.join(start, end, behind: behind < Shape.block ? nil : last)
    updateRooms(start, behind < Shape.block ? start : last)
  }

  /// Brings the rooms up to date after the long runs that start in the blocks of two granules
  /// changed.
  private mutating func updateRooms(_ first: Int, _ second: Int) {
    let block = first &>> Shape.blockOrder
    let other = second &>> Shape.blockOrder
    places.rooms.update(block, runs, bitmap)
    if other != block { places.rooms.update(other, runs, bitmap) }
    for number in 0..<alignedRooms.count {
      alignedRooms[number].update(block, runs, bitmap)
      if other != block { alignedRooms[number].update(other, runs, bitmap) }
    }
  }

  // MARK: Measuring and checking

  /// The memory that the index takes beside the bitmap, in bytes, if all of it is used.
  package var byteCount: Int {
    var sum = runs.byteCount + places.byteCount
    switch short {
    case .some(let short): sum += short.byteCount
    case nil: break
    }
    for number in 0..<orders.count { sum += orders[number].byteCount }
    for number in 0..<sparse.count { sum += sparse[number].byteCount }
    for number in 0..<alignedRooms.count { sum += alignedRooms[number].byteCount }
    return sum
  }

  /// The first rule of the invariant that does not hold; nil when all do. O(granules × alignments).
  package var brokenRule: String? {
    if let rule = front.brokenRule(in: bitmap) { return rule }
    if let rule = runs.brokenRule(in: bitmap, front: front) { return rule }
    var count = 0
    var longest = 0
    bitmap.forEachFreeRun { run in
      count += 1
      longest = max(longest, run.count.rawValue)
      return true
    }
    if count != runCount { return "the runs are counted" }
    if longest != self.longest.rawValue { return "the longest run is known" }
    if let rule = places.reach.brokenRule(in: bitmap, front: front) { return rule }
    if let rule = places.rooms.brokenRule(runs, bitmap, front: front) { return rule }
    for number in 0..<orders.count {
      if let rule = orders[number].brokenRule(in: bitmap, front: front) { return rule }
    }
    for number in 0..<sparse.count {
      if let rule = sparse[number].brokenRule(in: bitmap, front: front) { return rule }
    }
    for number in 0..<alignedRooms.count {
      if let rule = alignedRooms[number].brokenRule(runs, bitmap, front: front) { return rule }
    }
    return switch short {
    case .some(let short): short.brokenRule(in: bitmap)
    case nil: nil
    }
  }
}
