public import Synchronization

/// The inside of a cache: compiled once for all address spaces, used by one thread.
///
/// For each size in granules there is a slot for the object that was freed last, a *current* slab,
/// from which objects are taken, and a list of others in which some are free (*ready*). A call that
/// finds its object and its slab so is a hit: it takes no lock, makes no allocation, and writes
/// lines of this cache only.
///
/// The two halves of a hit are inlined into other modules: called, they would take half as long
/// again. So are the fields that they read, and nothing else is `@usableFromInline`.
///
/// Invariant: a slab with a free object is current or ready (`isListed`), and in the directory.
/// `counted` is the granules of all free objects and of all slots that are not closed, at most
/// `limit`.
@usableFromInline
struct CacheState: ~Copyable {
  // Fields that a hit reads come first.
  @usableFromInline var moment: ChangeMoment
  @usableFromInline let order: UInt64
  /// The most granules of an object.
  private let largest: UInt64
  @usableFromInline let slots: CacheSlots
  private let record: CacheRecordReference
  private var current: Table<UInt64>
  private var ready: Table<UInt64>
  /// A slab without objects, for sizes that have none.
  private let none: SlabReference
  /// The most granules held.
  private let limit: Int
  private var directory: SlabDirectory
  /// All slabs by number, and the numbers that are free.
  private var slabs: [SlabReference?] = []
  private var freeNumbers: [Int] = []
  private let forkGuard: ForkGuard
  /// The allocator's changes, and how many of them the cache has followed.
  private let changes: ChangeCount
  private var seenChanges: UInt64
  /// The number from which on slabs are looked at that may have no object left.
  private var cursor = 0

  /// A cache that is in the books of its allocator; nil without memory.
  init?(
    granule: GranuleSize, forkGuard: ForkGuard, largest: Int, limit: Int,
    in books: inout CacheBooks
  ) {
    guard let current = Table<UInt64>(count: largest), let ready = Table<UInt64>(count: largest),
      let directory = SlabDirectory(granule: granule)
    else { return nil }
    self.forkGuard = forkGuard
    moment = ChangeMoment(forkGuard)
    order = UInt64(granule.order)
    self.largest = UInt64(largest)
    self.limit = limit
    none = SlabReference(Slab())
    slots = CacheSlots(none)
    (record, changes) = books.begin(slots, none: none)
    seenChanges = changes.current
    for index in 0..<largest { current[index] = none.word }
    self.current = current
    self.ready = ready
    self.directory = directory
  }

  /// Leaves the books: there are no slabs any more.
  func end(in books: inout CacheBooks) { books.end(record) }

  deinit {
    // The books of a forked child keep them: nothing can be taken out there.
    guard !forkGuard.isForked else { return }
    slots.deallocate()
    none.deallocate()
  }

  /// The granules held.
  var held: Int { record.pointee.held }

  /// The same, empty slots included.
  private var counted: Int { record.pointee.counted.load(ordering: .relaxed) }

  /// The number of slabs.
  var slabCount: Int { slabs.count - freeNumbers.count }

  /// Whether this is a forked child of the process that made the cache.
  var isForked: Bool { forkGuard.isForked }

  // MARK: Hits

  /// An object that a hit hands out.
  @usableFromInline
  struct Object {
    @usableFromInline let start: AnyAddress
    @usableFromInline let owner: Owner?

    @inlinable
    init(start: AnyAddress, owner: Owner?) {
      self.start = start
      self.owner = owner
    }
  }

  /// Takes the object in the slot for `size` bytes; nil when there is none, and when chunks have
  /// changed or the process was forked.
  @inlinable @inline(__always)
  func allocate(_ size: ByteCount) -> Object? {
    // Wraps for 0 bytes, which are too many then.
    let index = (size.rawValue &- 1) &>> order
    guard moment.difference | index &>> Slab.orderOfMostGranules == 0 else { return nil }
    let slot = Int(truncatingIfNeeded: index)
    let address = slots[slot].object.load(ordering: .relaxed)
    guard address != 0 else { return nil }
    slots[slot].object.store(0, ordering: .relaxed)
    add(1, to: slots[slot].allocations)
    return Object(start: Address(address), owner: slots[slot].slab.pointee.owner)
  }

  /// Takes an object from the current slab; nil as the other one, and when none is free there.
  // Mutating, because a borrow would be copied for the call.
  @inline(never)
  mutating func allocateFromSlab(_ size: ByteCount) -> Object? {
    let index = (size.rawValue &- 1) &>> order
    guard moment.isNow, index < largest else { return nil }
    let slot = Int(truncatingIfNeeded: index)
    let slab = SlabReference(knownWord: current[slot])
    let free = slab.pointee.free.load(ordering: .relaxed)
    guard free != 0 else { return nil }
    slab.pointee.free.store(free & (free &- 1), ordering: .relaxed)
    add(1, to: slots[slot].allocations)
    add(-1 &- slot, to: record.pointee.counted)
    // A free looks for the slab there first.
    if slots[slot].isEmpty(none) { slots[slot].slab = slab }
    let offset = UInt64(truncatingIfNeeded: free.trailingZeroBitCount) &* slab.pointee.objectSize
    return Object(
      start: Address(slab.pointee.start.rawValue &+ offset), owner: slab.pointee.owner)
  }

  /// The answer of a free that hit.
  @usableFromInline
  struct Freed {
    @usableFromInline let owner: Owner?

    @inlinable
    init(owner: Owner?) { self.owner = owner }
  }

  /// Puts an object that is out, of the slab that the slot knows, into the empty slot; nil when it
  /// is not so, and as the others.
  @inlinable @inline(__always)
  func free(_ start: AnyAddress, _ size: ByteCount) -> Freed? {
    let index = (size.rawValue &- 1) &>> order
    guard moment.difference | index &>> Slab.orderOfMostGranules == 0 else { return nil }
    let slot = Int(truncatingIfNeeded: index)
    // That of a closed slot has no object.
    let slab = slots[slot].slab
    guard let object = slab.pointee.object(at: start),
      slots[slot].object.load(ordering: .relaxed) == 0,
      slab.pointee.isNeitherFreeNorDisowned(object)
    else { return nil }
    slots[slot].object.store(start.rawValue, ordering: .relaxed)
    add(1, to: slots[slot].frees)
    return Freed(owner: slab.pointee.owner)
  }

  /// Takes back an object that is out, of any slab, within the limit; nil when it is not so, and as
  /// the others.
  @inline(never)
  mutating func freeIntoSlab(_ start: AnyAddress, _ size: ByteCount) -> Freed? {
    let index = (size.rawValue &- 1) &>> order
    guard moment.isNow, index < largest else { return nil }
    let slot = Int(truncatingIfNeeded: index)
    guard let slab = slab(of: start, granules: slot &+ 1) else { return nil }
    let isClosed = slots[slot].slab == none
    if isClosed || slots[slot].object.load(ordering: .relaxed) != 0 {
      guard counted &+ slot &+ 1 <= limit else { return nil }
      add(slot &+ 1, to: record.pointee.counted)
    }
    if slots[slot].object.load(ordering: .relaxed) == 0 {
      slots[slot].slab = slab
      slots[slot].object.store(start.rawValue, ordering: .relaxed)
    } else {
      makeFree(start, of: slab)
    }
    add(1, to: slots[slot].frees)
    return Freed(owner: slab.pointee.owner)
  }

  /// Has an object be found for allocations.
  private func makeFree(_ start: AnyAddress, of slab: SlabReference) {
    guard let object = slab.pointee.object(at: start) else { return }
    let free = slab.pointee.free.load(ordering: .relaxed)
    slab.pointee.free.store(free | 1 &<< object, ordering: .relaxed)
    list(slab)
  }

  /// The slab of an object that is out; nil when it is none, or held, or disowned.
  @inline(__always)
  private func slab(of start: AnyAddress, granules: Int) -> SlabReference? {
    if start.rawValue == slots[granules &- 1].object.load(ordering: .relaxed) { return nil }
    func isOut(_ slab: SlabReference) -> Bool {
      guard let object = slab.pointee.object(at: start) else { return false }
      return slab.pointee.isNeitherFreeNorDisowned(object)
    }
    let likely = slots[granules &- 1].slab
    if isOut(likely) { return likely }
    return directory.first(at: start) { number in
      guard let slab = slabs[number], slab.pointee.granules == granules, isOut(slab) else {
        return nil
      }
      return slab
    }
  }

  /// This thread alone writes the record: no read-modify-write that locks the line.
  @inlinable @inline(__always)
  func add(_ count: Int, to word: borrowing Atomic<Int>) {
    word.store(word.load(ordering: .relaxed) &+ count, ordering: .relaxed)
  }

  // MARK: Misses

  /// Takes an object back for which there may have to be room made; nil when it is the pool's to
  /// free, or to refuse.
  mutating func freeWithRoom(_ start: AnyAddress, _ size: ByteCount) -> Freed? {
    if let freed = freeIntoSlab(start, size) { return freed }
    let index = (size.rawValue &- 1) &>> order
    guard index < largest, slab(of: start, granules: Int(index) + 1) != nil else { return nil }
    trim(to: limit / 2)
    return freeIntoSlab(start, size)
  }

  /// The objects of a slab of this size: 2 … 64, and not more than a quarter of the limit where
  /// that is more than 2.
  func objects(ofGranules granules: Int) -> Int {
    let most = max(2, limit / 4 / granules)
    return min(Slab.mostObjects, 1 << (Int.bitWidth - 1 - most.leadingZeroBitCount))
  }

  /// Makes a ready slab the current one; false when there is none.
  mutating func useReadySlab(granules: Int) -> Bool {
    guard let slab = SlabReference(word: ready[granules - 1]) else { return false }
    unlink(slab)
    makeCurrent(slab)
    return true
  }

  /// Makes a slab that was just taken from the pool the current one; false without memory to find
  /// it again, and then it is given back.
  mutating func adopt(_ slab: SlabReference) -> Bool {
    let granules = slab.pointee.granules
    let count = slab.pointee.objects * granules
    if counted + count > limit { trim(to: min(limit / 2, limit - count)) }
    let number = freeNumbers.popLast() ?? slabs.count
    guard directory.insert(slab, number: number) else {
      freeNumbers.append(number)
      if number == slabs.count { slabs.append(nil) }
      slab.pointee.chunk?.pointee.giveBack(slab, isEnding: true)
      slab.deallocate()
      return false
    }
    if number == slabs.count { slabs.append(slab) } else { slabs[number] = slab }
    slab.pointee.number = UInt32(number)
    add(count, to: record.pointee.counted)
    makeCurrent(slab)
    // Objects that other threads freed through the pool leave empty slabs, which no free of this
    // cache finds: two slabs are checked for each new one.
    for _ in 0..<2 { dropIfEmpty(at: cursor) }
    return true
  }

  private mutating func makeCurrent(_ slab: SlabReference) {
    let index = slab.pointee.granules - 1
    let old = SlabReference(knownWord: current[index])
    if old != none { unlist(old) }
    current[index] = slab.word
    slab.pointee.isListed = true
    if old != none, old.pointee.free.load(ordering: .relaxed) != 0 { list(old) }
  }

  private mutating func dropIfEmpty(at number: Int) {
    cursor = number + 1 < slabs.count ? number + 1 : 0
    guard number < slabs.count, let slab = slabs[number],
      slab.pointee.disowned.load(ordering: .relaxed) == slab.pointee.everyObject
    else { return }
    drop(slab)
  }

  // MARK: Giving back

  /// Drops the slabs of chunks that were drained or removed, if any were.
  mutating func followChanges() {
    moment = ChangeMoment(forkGuard)
    let now = changes.current
    guard now != seenChanges else { return }
    seenChanges = now
    for slab in slabs {
      if let slab, !slab.pointee.isInOpenChunk { drop(slab) }
    }
  }

  /// Gives back all that is held; what is out is an ordinary allocation from now on.
  mutating func flush() {
    for slab in slabs {
      if let slab { drop(slab) }
    }
  }

  /// Gives objects back until no more than `target` granules are held: whole slabs first.
  mutating func trim(to target: Int) {
    for index in 0..<Int(largest) { closeSlot(index) }
    for wholeOnly in [true, false] {
      for index in (0..<Int(largest)).reversed() {
        var next = SlabReference(word: ready[index])
        while let slab = next, counted > target {
          next = slab.pointee.next
          giveBack(slab, ifWhole: wholeOnly)
        }
        if counted <= target { return }
        giveBack(SlabReference(knownWord: current[index]), ifWhole: wholeOnly)
      }
    }
  }

  /// Empties a slot into the slab of its object.
  private func closeSlot(_ index: Int) {
    let slab = slots[index].slab
    guard slab != none else { return }
    let object = slots[index].object.load(ordering: .relaxed)
    slots[index].object.store(0, ordering: .relaxed)
    slots[index].slab = none
    if object != 0 {
      makeFree(Address(object), of: slab)
    } else {
      add(-1 - index, to: record.pointee.counted)
    }
  }

  private mutating func giveBack(_ slab: SlabReference, ifWhole: Bool) {
    guard slab.pointee.free.load(ordering: .relaxed) != 0 else { return }
    if slab.pointee.out == 0 { return drop(slab) }
    if ifWhole { return }
    forgetHeld(of: slab)
    slab.pointee.chunk?.pointee.giveBack(slab, isEnding: false)
    unlist(slab)
  }

  /// Gives back what is held of a slab and forgets it.
  private mutating func drop(_ slab: SlabReference) {
    let index = slab.pointee.granules - 1
    if slots[index].slab == slab { closeSlot(index) }
    unlist(slab)
    forgetHeld(of: slab)
    slab.pointee.chunk?.pointee.giveBack(slab, isEnding: true)
    let number = Int(slab.pointee.number)
    directory.remove(slab, number: number)
    slabs[number] = nil
    freeNumbers.append(number)
    slab.deallocate()
  }

  private func forgetHeld(of slab: SlabReference) {
    let objects = slab.pointee.free.load(ordering: .relaxed).nonzeroBitCount
    add(-objects * slab.pointee.granules, to: record.pointee.counted)
  }

  // MARK: Lists

  /// Has a slab be found for allocations, if it is not yet.
  private func list(_ slab: SlabReference) {
    guard !slab.pointee.isListed else { return }
    let index = slab.pointee.granules - 1
    let first = SlabReference(word: ready[index])
    slab.pointee.isListed = true
    slab.pointee.next = first
    slab.pointee.previous = nil
    first?.pointee.previous = slab
    ready[index] = slab.word
  }

  /// Takes a slab out of the list of those that are ready.
  private func unlink(_ slab: SlabReference) {
    if let previous = slab.pointee.previous {
      previous.pointee.next = slab.pointee.next
    } else {
      ready[slab.pointee.granules - 1] = slab.pointee.next?.word ?? 0
    }
    slab.pointee.next?.pointee.previous = slab.pointee.previous
    slab.pointee.next = nil
    slab.pointee.previous = nil
  }

  /// Has no allocation find a slab any more.
  private func unlist(_ slab: SlabReference) {
    guard slab.pointee.isListed else { return }
    slab.pointee.isListed = false
    let index = slab.pointee.granules - 1
    if SlabReference(knownWord: current[index]) == slab {
      current[index] = none.word
    } else {
      unlink(slab)
    }
  }
}

extension CacheState {
  /// The first rule of the invariant that does not hold; nil when all do.
  var brokenRule: String? {
    var sum = 0
    for (number, slab) in slabs.enumerated() {
      guard let slab else { continue }
      let free = slab.pointee.free.load(ordering: .relaxed)
      sum += free.nonzeroBitCount * slab.pointee.granules
      if free & slab.pointee.inSlot != 0 { return "no object is free and in a slot" }
      if slab.pointee.held & slab.pointee.disowned.load(ordering: .relaxed) != 0 {
        return "no object is held and disowned"
      }
      if free != 0, !slab.pointee.isListed { return "a slab with a free object is listed" }
      let found = directory.first(at: slab.pointee.start) { $0 == number ? true : nil }
      if found == nil { return "a slab is in the directory" }
    }
    for index in 0..<Int(largest)
    where slots[index].slab != none { sum += index + 1 }
    if sum != counted { return "what is counted is what is free in slabs, and slots" }
    return sum <= limit ? nil : "no more is held than the limit"
  }
}

/// The place of a cache's inside, while the cache lives.
// SAFETY: made by a cache and ended by it; one thread uses it at a time, which is for that cache's
// callers to keep, and the type is not Sendable.
@safe @usableFromInline
struct CacheStateReference {
  @usableFromInline let pointer: UnsafeMutablePointer<CacheState>

  init(_ state: consuming CacheState) {
    unsafe pointer = .allocate(capacity: 1)
    unsafe pointer.initialize(to: state)
  }

  /// The state for hits, which are inlined into other modules.
  @inlinable @inline(__always)
  var pointee: CacheState {
    _read { yield unsafe pointer.pointee }
  }

  /// The state for calls that change more. An inlined setter would need the deinit.
  @inline(__always)
  var inside: CacheState {
    _read { yield unsafe pointer.pointee }
    nonmutating _modify { yield unsafe &pointer.pointee }
  }

  func deallocate() {
    unsafe pointer.deinitialize(count: 1)
    unsafe pointer.deallocate()
  }
}
