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

  /// The place where a chunk tells its room. Used with the chunk's lock held.
  struct Place {
    private let column: RunRows.Column
    /// The chunk's start, in granules.
    private let origin: UInt64
    /// The runs that were told last.
    private(set) var said: AlignedRuns

    init(_ column: RunRows.Column, origin: UInt64, saying runs: AlignedRuns) {
      self.column = column
      self.origin = origin
      said = runs
      column.write(runs, origin: origin)
    }

    /// Writes what changed.
    mutating func publish(_ runs: AlignedRuns) {
      column.change(from: said, to: runs, origin: origin)
      said = runs
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
  static func end(_ books: borrowing Books) { forEachStorage(books) { $0.deallocate() } }

  /// The number of storages. The allocator's lock is held.
  static func storageCount(_ books: borrowing Books) -> Int {
    var count = 0
    forEachStorage(books) { _ in count += 1 }
    return count
  }

  private static func forEachStorage(_ books: borrowing Books, _ body: (ChunkReference) -> Void) {
    var next = books.lastMade
    while let chunk = next {
      next = chunk.pointee.madeBefore
      body(chunk)
    }
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

  /// The longest run from an aligned place in any open chunk, in granules; nil when that is not
  /// known without a look into the chunks.
  @inline(__always)
  func longestRun(_ order: Int, fromChunkStart: Bool) -> Int? {
    if isSingle, let newest {
      return newest.pointee.isOpen ? newest.pointee.longestRun(order, fromChunkStart) : nil
    }
    return unsafe current.load(ordering: .acquiring)?.pointee.longestRun(
      order, fromChunkStart: fromChunkStart)
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

  /// The chunk in which `address` lies. Nothing may be added or removed meanwhile. O(log chunks),
  /// or O(chunks) when there is none.
  func chunk(at address: AnyAddress) -> ChunkReference? {
    likelyChunk(at: address) ?? first { $0.pointee.contains(address) ? $0 : nil }
  }

  /// Whether there is one chunk only, if the list is unchanged since a moment before.
  @inline(__always)
  var isSingle: Bool {
    guard let roster = unsafe current.load(ordering: .acquiring) else { return false }
    return unsafe roster.pointee.chunkCount.load(ordering: .acquiring) == 1
  }

  /// A moment of the list, for ``isUnchanged(since:)``.
  @inline(__always)
  var moment: UInt64 { changes.load(ordering: .acquiring) }

  /// Whether no chunk came, went or moved since: nothing was missed, and nothing met twice.
  @inline(__always)
  func isUnchanged(since moment: UInt64) -> Bool {
    // Orders the loads of the walk before the load of `changes`.
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
    unsafe head.store(first { $0 }?.pointer, ordering: .releasing)
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
