import Synchronization

/// The rows of a ``ChunkList``.
// SAFETY: `replaced` is the list's to deallocate.
@safe
struct Roster: ~Copyable {
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
  private let runs: RunRows
  /// The starts of the chunks, ascending, and the chunks.
  private let starts: AtomicWords
  private let chunksByStart: AtomicWords

  init(capacity: Int, replaced: UnsafeMutablePointer<Roster>?) {
    self.capacity = capacity
    unsafe self.replaced = replaced
    chunks = AtomicWords(capacity)
    runs = RunRows(slots: capacity)
    starts = AtomicWords(capacity)
    chunksByStart = AtomicWords(capacity)
  }

  @inline(__always)
  func chunk(in slot: Int) -> ChunkReference? { ChunkReference(word: chunks[slot]) }

  /// The highest slot below `end` whose chunk may serve, or without one when no run is asked for;
  /// −1 for none.
  @inline(__always)
  func slot(below end: Int, serving request: ChunkRequest) -> Int {
    runs.slot(
      below: end, request.order, fromChunkStart: request.fromChunkStart,
      lackingAtMost: AlignedRuns.most(request.run))
  }

  /// The longest run from an aligned place in any open chunk, in granules; nil when that is not
  /// known here: of some chunk it is not, or the run is of 64 granules or more.
  func longestRun(_ order: Int, fromChunkStart: Bool) -> Int? {
    guard order <= AlignedRuns.greatestOrder else { return nil }
    let end = count.load(ordering: .acquiring)
    let lack = runs.least(order, fromChunkStart: fromChunkStart, below: end)
    return lack == 0 ? nil : AlignedRuns.limit &- lack
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
        runs.column(slot).write(.unknown)
        state.place = nil
        return
      }
      state.place = ChunkList.Place(
        runs.column(slot), origin: chunk.pointee.origin, saying: chunk.pointee.offeredRuns(state))
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
      runs.column(slot).write(.none)
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
        runs.column(from).write(.none)
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
      // Until it tells this roster, it may have room for anything.
      runs.column(to).write(.unknown)
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
      let offered = chunk.pointee.state.withLock { chunk.pointee.offeredRuns($0) }
      if isAnnounced.load(ordering: .relaxed),
        !runs.says(offered, in: slot, origin: chunk.pointee.origin)
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
