import Synchronization

/// The chunks of an allocator, newest first, for those who hold no lock.
///
/// A *roster* has a slot for each chunk, the newest in the highest, with what the chunk has room
/// for beside it, and the chunks once more by address. It is changed in place, and a larger one
/// takes its place when it is full, with the allocator's lock held; those who read it meanwhile may
/// miss a chunk or see one twice, and ask ``isUnchanged(since:)`` where that matters. Rosters and
/// storages stay until the list ends, so that no thread reads what is gone; both are used again: a
/// list that grew once does not grow by chunks that come and go.
///
/// Invariant, between changes: every chunk is in one slot below ``Roster/count`` and once in the
/// part by address, which ascends; from two chunks on a slot's runs are those that its chunk's
/// ``ChunkStorage/State/place`` wrote.
// SAFETY: rosters and storages are published with release order, and deallocated in deinit only.
@safe
struct ChunkList: ~Copyable, @unchecked Sendable {
  private typealias Storage = UnsafeMutablePointer<ChunkStorage>

  private let head = unsafe Atomic<UnsafeMutablePointer<ChunkStorage>?>(nil)
  private let current = unsafe Atomic<UnsafeMutablePointer<Roster>?>(nil)
  /// Counts the beginnings and ends of changes; odd meanwhile.
  private let changes = Atomic<UInt64>(0)

  /// The part that changes under the allocator's lock alone.
  struct Books: ~Copyable {
    /// Storages that no chunk uses.
    fileprivate var spares: [ChunkReference] = []
    /// The storage made last.
    fileprivate var lastMade: ChunkReference?
  }

  /// The words in which a chunk tells what it has room for. Used with the chunk's lock held.
  // SAFETY: a roster's words live as long as the list.
  @safe
  struct Place {
    private let byAddress: UnsafeMutablePointer<Atomic<UInt64>>
    private let fromStart: UnsafeMutablePointer<Atomic<UInt64>>
    /// The chunk's start, in granules.
    private let origin: UInt64

    fileprivate init(_ roster: borrowing Roster, slot: Int, origin: UInt64) {
      unsafe byAddress = roster.runsByAddress.word(slot)
      unsafe fromStart = roster.runsFromStart.word(slot)
      self.origin = origin
    }

    /// Writes what changed: the line is shared with other chunks.
    @inline(__always)
    func publish(_ runs: AlignedRuns) {
      if unsafe fromStart.pointee.load(ordering: .relaxed) != runs.rawValue {
        unsafe fromStart.pointee.store(runs.rawValue, ordering: .relaxed)
        unsafe byAddress.pointee.store(runs.counted(from: origin), ordering: .relaxed)
      }
    }
  }

  deinit {
    var roster = unsafe current.load(ordering: .acquiring)
    while let this = unsafe roster {
      unsafe roster = this.pointee.replaced
      unsafe this.deinitialize(count: 1)
      unsafe this.deallocate()
    }
  }

  /// Ends all storages. The books are of this list, and it is used no more.
  static func end(_ books: borrowing Books) {
    var next = books.lastMade
    while let chunk = next {
      next = chunk.pointee.madeBefore
      chunk.deallocate()
    }
  }

  /// The number of storages. The allocator's lock is held.
  static func storageCount(_ books: borrowing Books) -> Int {
    var count = 0
    var next = books.lastMade
    while let chunk = next {
      count += 1
      next = chunk.pointee.madeBefore
    }
    return count
  }

  // MARK: Reading

  /// The chunk added last.
  @inline(__always)
  var newest: ChunkReference? { unsafe ChunkReference(head.load(ordering: .acquiring)) }

  /// Runs `body` on every chunk, newest first, without its lock.
  @inline(__always)
  func forEach(_ body: (ChunkReference) -> Void) {
    _ = first { (chunk) -> Void? in
      body(chunk)
      return nil
    }
  }

  /// The answer of `body` for the newest chunk for which there is one, without its lock.
  @inline(__always)
  func first<Answer, Failure: Error>(
    _ body: (ChunkReference) throws(Failure) -> Answer?
  ) throws(Failure) -> Answer? {
    guard let roster = unsafe current.load(ordering: .acquiring) else { return nil }
    var slot = unsafe roster.pointee.count.load(ordering: .acquiring)
    while slot > 0 {
      slot &-= 1
      if let chunk = unsafe roster.pointee.chunk(in: slot), !chunk.pointee.isRemoved,
        let answer = try body(chunk)
      {
        return answer
      }
    }
    return nil
  }

  /// The same of those chunks that may serve.
  @inline(__always)
  func first<Answer, Failure: Error>(
    serving request: ChunkRequest, _ body: (ChunkReference) throws(Failure) -> Answer?
  ) throws(Failure) -> Answer? {
    guard let roster = unsafe current.load(ordering: .acquiring) else { return nil }
    var slot = unsafe roster.pointee.count.load(ordering: .acquiring)
    while true {
      slot = unsafe roster.pointee.slot(below: slot, serving: request)
      guard slot >= 0 else { return nil }
      if let chunk = unsafe roster.pointee.chunk(in: slot), let answer = try body(chunk) {
        return answer
      }
    }
  }

  /// The chunk in which `address` lies, unless chunks come and go: to be looked at again under its
  /// lock, and when there is none, with ``chunk(at:)``. O(log chunks).
  @inline(__always)
  func likelyChunk(at address: AnyAddress) -> ChunkReference? {
    if let newest, newest.pointee.contains(address) { return newest }
    guard let roster = unsafe current.load(ordering: .acquiring),
      let chunk = unsafe roster.pointee.chunk(below: address), chunk.pointee.contains(address)
    else { return nil }
    return chunk
  }

  /// The chunk in which `address` lies. Nothing may be added or removed meanwhile. O(chunks).
  func chunk(at address: AnyAddress) -> ChunkReference? {
    first { $0.pointee.contains(address) ? $0 : nil }
  }

  /// A moment of the list, for ``isUnchanged(since:)``.
  @inline(__always)
  var moment: UInt64 { changes.load(ordering: .acquiring) }

  /// Whether no chunk came, went or moved since: nothing was missed, and nothing met twice.
  @inline(__always)
  func isUnchanged(since moment: UInt64) -> Bool {
    // What was read of chunks before this was read before it.
    atomicMemoryFence(ordering: .acquiring)
    return moment & 1 == 0 && changes.load(ordering: .acquiring) == moment
  }

  // MARK: Changing

  /// The allocator's lock is held, from here to the end.
  func beginChange() { changes.wrappingAdd(1, ordering: .acquiringAndReleasing) }
  private func endChange() { changes.wrappingAdd(1, ordering: .acquiringAndReleasing) }

  /// Adds a chunk. The allocator's lock is held.
  func push(
    _ state: consuming ChunkStorage.State, granule: GranuleSize, _ books: inout Books
  ) {
    beginChange()
    let identity = state.identity
    let chunk: ChunkReference
    if let spare = books.spares.popLast() {
      spare.pointee.reuse(for: state)
      chunk = spare
    } else {
      chunk = ChunkReference(
        ChunkStorage(state, granule: granule, madeBefore: books.lastMade))
      books.lastMade = chunk
    }
    let roster = unsafe room()
    let slot = unsafe roster.pointee.count.load(ordering: .relaxed)
    unsafe roster.pointee.enter(chunk, at: slot)
    unsafe roster.pointee.insert(chunk, start: identity.start)
    unsafe roster.pointee.count.store(slot + 1, ordering: .releasing)
    // From two chunks on, others have to know what is in each without asking it.
    if slot > 0 { unsafe roster.pointee.announce() }
    unsafe head.store(chunk.pointer, ordering: .releasing)
    endChange()
  }

  /// Takes a chunk out, which is removed already, and ends the change that began before that. The
  /// allocator's lock is held.
  func remove(_ chunk: ChunkReference, start: AnyAddress, _ books: inout Books) {
    defer { endChange() }
    guard let roster = unsafe current.load(ordering: .relaxed) else { return }
    unsafe roster.pointee.leave(chunk, start: start)
    books.spares.append(chunk)
    var newest: ChunkReference?
    newest = first { $0 }
    unsafe head.store(newest?.pointer, ordering: .releasing)
  }

  /// A roster with a free slot above all others.
  @unsafe
  private func room() -> UnsafeMutablePointer<Roster> {
    let old = unsafe current.load(ordering: .relaxed)
    if let old = unsafe old {
      if unsafe old.pointee.count.load(ordering: .relaxed) < old.pointee.capacity {
        return unsafe old
      }
      // Half of it is gaps: those who came up close them, newest last.
      if unsafe old.pointee.chunkCount.load(ordering: .relaxed) <= old.pointee.capacity / 2 {
        unsafe old.pointee.closeGaps()
        return unsafe old
      }
    }
    let new = UnsafeMutablePointer<Roster>.allocate(capacity: 1)
    let capacity = unsafe 2 * (old?.pointee.capacity ?? 2)
    unsafe new.initialize(to: Roster(capacity: capacity, replaced: old))
    if let old = unsafe old { unsafe new.pointee.copy(old) }
    unsafe current.store(new, ordering: .releasing)
    // Until a chunk tells the new one, it may be asked for anything there.
    unsafe new.pointee.enterAll()
    return unsafe new
  }
}

extension ChunkList {
  /// The first rule of the invariant that does not hold; nil when all do. No other thread is there.
  func brokenRule() -> String? {
    guard let roster = unsafe current.load(ordering: .acquiring) else { return nil }
    return unsafe roster.pointee.brokenRule(newest: newest)
  }
}

/// The place of a chunk's storage, while its allocator lives.
// SAFETY: made by ChunkList alone, which outlives all use: an allocator's methods keep it alive.
// Nothing behind it is written to but through its own atomics and lock.
@safe
struct ChunkReference: @unchecked Sendable {
  fileprivate let pointer: UnsafeMutablePointer<ChunkStorage>

  @inline(__always)
  fileprivate init?(_ pointer: UnsafeMutablePointer<ChunkStorage>?) {
    guard let pointer = unsafe pointer else { return nil }
    unsafe self.pointer = pointer
  }

  fileprivate init(_ storage: consuming ChunkStorage) {
    let pointer = UnsafeMutablePointer<ChunkStorage>.allocate(capacity: 1)
    unsafe pointer.initialize(to: storage)
    unsafe self.pointer = pointer
  }

  /// The reference in a word of a roster; nil for 0.
  @inline(__always)
  fileprivate init?(word: UInt64) {
    unsafe self.init(
      UnsafeMutablePointer<ChunkStorage>(bitPattern: UInt(truncatingIfNeeded: word)))
  }

  @inline(__always)
  fileprivate var word: UInt64 { unsafe UInt64(UInt(bitPattern: pointer)) }

  @inline(__always)
  var pointee: ChunkStorage {
    _read { yield unsafe pointer.pointee }
  }

  fileprivate func deallocate() {
    unsafe pointer.deinitialize(count: 1)
    unsafe pointer.deallocate()
  }
}

/// The rows of a ``ChunkList``.
// SAFETY: `replaced` is the list's to deallocate.
@safe
private struct Roster: ~Copyable {
  let capacity: Int
  /// The smaller one that this replaced.
  let replaced: UnsafeMutablePointer<Roster>?
  /// Slots up to the newest chunk's, gaps included.
  let count = Atomic<Int>(0)
  /// Chunks.
  let chunkCount = Atomic<Int>(0)
  /// Whether chunks tell what they have room for.
  private let isAnnounced = Atomic(false)
  private let chunks: AtomicWords
  fileprivate let runsByAddress: AtomicWords
  fileprivate let runsFromStart: AtomicWords
  /// The starts of the chunks, ascending, and the chunks.
  private let starts: AtomicWords
  private let chunksByStart: AtomicWords

  init(capacity: Int, replaced: UnsafeMutablePointer<Roster>?) {
    self.capacity = capacity
    unsafe self.replaced = replaced
    chunks = AtomicWords(capacity)
    runsByAddress = AtomicWords(capacity)
    runsFromStart = AtomicWords(capacity)
    starts = AtomicWords(capacity)
    chunksByStart = AtomicWords(capacity)
  }

  @inline(__always)
  func chunk(in slot: Int) -> ChunkReference? { ChunkReference(word: chunks[slot]) }

  /// The highest slot below `end` whose chunk may serve, or without one when no run is asked for;
  /// −1 for none.
  @inline(__always)
  func slot(below end: Int, serving request: ChunkRequest) -> Int {
    var slot = end &- 1
    let shift = AlignedRuns.shift(request.order)
    let most = AlignedRuns.most(request.run)
    if request.fromChunkStart {
      while slot >= 0, runsFromStart[slot] &>> shift & 0xff > most { slot &-= 1 }
    } else {
      while slot >= 0, runsByAddress[slot] &>> shift & 0xff > most { slot &-= 1 }
    }
    return slot
  }

  /// The chunk with the highest start that is not above `address`.
  @inline(__always)
  func chunk(below address: AnyAddress) -> ChunkReference? {
    var low = 0
    var length = chunkCount.load(ordering: .acquiring)
    while length > 1 {
      let half = length &>> 1
      // A product instead of a branch, which is guessed wrong half of the time.
      let isAbove = address.rawValue.subtractingReportingOverflow(starts[low &+ half]).overflow
      low &+= half &* (isAbove ? 0 : 1)
      length &-= half
    }
    return ChunkReference(word: chunksByStart[low])
  }

  // MARK: Changing, with the allocator's lock held

  /// Gives a chunk a slot that is free. It takes its lock.
  func enter(_ chunk: ChunkReference, at slot: Int) {
    chunk.pointee.state.withLock { state in
      chunks[slot] = chunk.word
      guard isAnnounced.load(ordering: .relaxed) else {
        runsFromStart[slot] = AlignedRuns.unknown.rawValue
        runsByAddress[slot] = AlignedRuns.unknown.rawValue
        state.place = nil
        return
      }
      let origin = chunk.pointee.start.rawValue >> UInt64(chunk.pointee.granule.order)
      let runs = state.index.alignedRuns.with(longest: state.index.longest.rawValue)
      runsFromStart[slot] = runs.rawValue
      runsByAddress[slot] = runs.counted(from: origin)
      state.place = ChunkList.Place(self, slot: slot, origin: origin)
    }
  }

  /// Has all chunks tell from now on what they have room for.
  func announce() {
    guard !isAnnounced.load(ordering: .relaxed) else { return }
    isAnnounced.store(true, ordering: .relaxed)
    enterAll()
  }

  /// Has all chunks tell this roster, if they tell one.
  func enterAll() {
    for slot in 0..<count.load(ordering: .relaxed) {
      if let chunk = chunk(in: slot) { enter(chunk, at: slot) }
    }
  }

  func insert(_ chunk: ChunkReference, start: AnyAddress) {
    // From above, so that a search meanwhile finds what was there.
    let end = chunkCount.load(ordering: .relaxed)
    var place = end
    while place > 0, starts[place - 1] > start.rawValue {
      starts[place] = starts[place - 1]
      chunksByStart[place] = chunksByStart[place - 1]
      place -= 1
    }
    starts[place] = start.rawValue
    chunksByStart[place] = chunk.word
    chunkCount.store(end + 1, ordering: .releasing)
  }

  /// Takes a chunk out of both rows.
  func leave(_ chunk: ChunkReference, start: AnyAddress) {
    var end = count.load(ordering: .relaxed)
    for slot in 0..<end where chunks[slot] == chunk.word {
      runsByAddress[slot] = AlignedRuns.none.rawValue
      runsFromStart[slot] = AlignedRuns.none.rawValue
      chunks[slot] = 0
    }
    while end > 0, chunks[end - 1] == 0 { end -= 1 }
    count.store(end, ordering: .releasing)
    let all = chunkCount.load(ordering: .relaxed)
    var place = 0
    while place < all, chunksByStart[place] != chunk.word { place += 1 }
    guard place < all else { return }
    for next in place..<(all - 1) {
      starts[next] = starts[next + 1]
      chunksByStart[next] = chunksByStart[next + 1]
    }
    chunkCount.store(all - 1, ordering: .releasing)
  }

  /// Moves chunks down into free slots. Each is in its new slot before it leaves the old one, so
  /// that a walk down the slots meanwhile meets it.
  func closeGaps() {
    let end = count.load(ordering: .relaxed)
    var to = 0
    for from in 0..<end {
      guard let chunk = chunk(in: from) else { continue }
      if to < from {
        enter(chunk, at: to)
        runsByAddress[from] = AlignedRuns.none.rawValue
        runsFromStart[from] = AlignedRuns.none.rawValue
        chunks[from] = 0
      }
      to += 1
    }
    count.store(to, ordering: .releasing)
  }

  /// Has the chunks of another roster, without gaps. They tell the other one until ``enterAll()``.
  func copy(_ old: UnsafeMutablePointer<Roster>) {
    isAnnounced.store(
      unsafe old.pointee.isAnnounced.load(ordering: .relaxed), ordering: .relaxed)
    var to = 0
    for from in 0..<(unsafe old.pointee.count.load(ordering: .relaxed)) {
      guard let chunk = unsafe old.pointee.chunk(in: from) else { continue }
      chunks[to] = chunk.word
      to += 1
    }
    count.store(to, ordering: .relaxed)
    let all = unsafe old.pointee.chunkCount.load(ordering: .relaxed)
    for place in 0..<all {
      starts[place] = unsafe old.pointee.starts[place]
      chunksByStart[place] = unsafe old.pointee.chunksByStart[place]
    }
    chunkCount.store(all, ordering: .relaxed)
  }

  func brokenRule(newest: ChunkReference?) -> String? {
    var inSlots: [UInt64] = []
    for slot in 0..<count.load(ordering: .relaxed) {
      guard let chunk = chunk(in: slot) else { continue }
      inSlots.append(chunk.word)
      let runs = chunk.pointee.state.withLock { state in
        state.index.alignedRuns.with(longest: state.index.longest.rawValue)
      }
      let origin = chunk.pointee.start.rawValue >> UInt64(chunk.pointee.granule.order)
      if isAnnounced.load(ordering: .relaxed),
        runsFromStart[slot] != runs.rawValue || runsByAddress[slot] != runs.counted(from: origin)
      {
        return "a slot has its chunk's runs"
      }
    }
    if inSlots.last != newest?.word { return "the newest chunk is in the highest slot" }
    var byStart: [UInt64] = []
    var last: UInt64 = 0
    for place in 0..<chunkCount.load(ordering: .relaxed) {
      if starts[place] < last { return "chunks by address ascend" }
      last = starts[place]
      if ChunkReference(word: chunksByStart[place])?.pointee.start.rawValue != last {
        return "a chunk by address starts there"
      }
      byStart.append(chunksByStart[place])
    }
    return inSlots.sorted() == byStart.sorted() ? nil : "every chunk is in a slot and by address"
  }
}
