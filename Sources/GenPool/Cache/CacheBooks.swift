import Synchronization

/// The counts of one cache, which its thread writes and statistics read.
struct CacheRecord: ~Copyable {
  /// The granules of all free objects, and of slots that are not closed.
  let counted = Atomic<Int>(0)
  private let slots: CacheSlots
  /// The slab of closed slots.
  private let none: SlabReference

  fileprivate init(_ slots: CacheSlots, none: SlabReference) {
    self.slots = slots
    self.none = none
  }

  /// The granules that the cache holds: for other threads a snapshot.
  var held: Int {
    var held = counted.load(ordering: .relaxed)
    for index in 0..<Slab.mostGranules where slots[index].isEmpty(none) { held -= index + 1 }
    return max(0, held)
  }

  /// Allocations that succeeded without the pool.
  var allocations: Int {
    var sum = 0
    for index in 0..<Slab.mostGranules { sum += slots[index].allocations.load(ordering: .relaxed) }
    return sum
  }

  /// Frees that succeeded without the pool.
  var frees: Int {
    var sum = 0
    for index in 0..<Slab.mostGranules { sum += slots[index].frees.load(ordering: .relaxed) }
    return sum
  }
}

/// The place of a record: cache lines that no other cache writes.
// SAFETY: made by the books and ended by them, when the cache ends that has it.
@safe
struct CacheRecordReference: Equatable {
  private let pointer: UnsafeMutablePointer<CacheRecord>

  fileprivate init(_ record: consuming CacheRecord) {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 128, alignment: 128)
    unsafe pointer = memory.bindMemory(to: CacheRecord.self, capacity: 1)
    unsafe pointer.initialize(to: record)
  }

  @inline(__always)
  var pointee: CacheRecord {
    _read { yield unsafe pointer.pointee }
  }

  fileprivate func deallocate() {
    unsafe pointer.deinitialize(count: 1)
    unsafe UnsafeMutableRawPointer(pointer).deallocate()
  }

  static func == (left: Self, right: Self) -> Bool { unsafe left.pointer == right.pointer }
}

/// The number of times that chunks of an allocator were drained, undrained or removed since it has
/// caches.
// SAFETY: made by the books, and there as long as the allocator.
@safe
struct ChangeCount {
  private let word: UnsafeMutablePointer<Atomic<UInt64>>

  fileprivate init() {
    unsafe word = .allocate(capacity: 1)
    unsafe word.initialize(to: Atomic(0))
  }

  var current: UInt64 { unsafe word.pointee.load(ordering: .acquiring) }

  fileprivate func increase() {
    unsafe word.pointee.wrappingAdd(1, ordering: .acquiringAndReleasing)
    ChangeMoment.end()
  }

  fileprivate func deallocate() {
    unsafe word.deinitialize(count: 1)
    unsafe word.deallocate()
  }
}

/// The caches of an allocator. Its lock is held.
struct CacheBooks: ~Copyable {
  private var changes: ChangeCount?
  private var records: [CacheRecordReference] = []
  /// The calls of caches that have ended.
  private var pastAllocations = 0
  private var pastFrees = 0

  // Memory is taken with the first cache.
  init() {}

  deinit { changes?.deallocate() }

  /// A new cache's record, and the word it watches.
  mutating func begin(_ slots: CacheSlots, none: SlabReference) -> (
    CacheRecordReference, ChangeCount
  ) {
    let watched = changes ?? ChangeCount()
    changes = watched
    let record = CacheRecordReference(CacheRecord(slots, none: none))
    records.append(record)
    return (record, watched)
  }

  /// A cache has ended.
  mutating func end(_ record: CacheRecordReference) {
    pastAllocations += record.pointee.allocations
    pastFrees += record.pointee.frees
    records.removeAll { $0 == record }
    record.deallocate()
  }

  /// Has every cache look after its slabs at its next call: a chunk's phase or life has changed.
  func noteChange() { changes?.increase() }

  /// Calls that succeeded in caches, and the granules that they hold. O(caches).
  var sums: (allocations: Int, frees: Int, held: Int) {
    var sums = (allocations: pastAllocations, frees: pastFrees, held: 0)
    for record in records {
      sums.allocations += record.pointee.allocations
      sums.frees += record.pointee.frees
      sums.held += record.pointee.held
    }
    return sums
  }
}
