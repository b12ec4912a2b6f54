public import Synchronization

/// The object of one size that was freed last, to be the next that is handed out, and the counts of
/// calls for that size.
///
/// The object is neither written to its slab nor counted: an allocation and a free that only move
/// an object out of a slot and in again wait for no memory word that the other one wrote, but for
/// the address itself.
@usableFromInline
struct CacheSlot: ~Copyable {
  /// The address of the object; 0 for none.
  @usableFromInline let object = Atomic<UInt64>(0)
  /// The slab of the object or, when there is none, of one that may be out. The slab without
  /// objects in a slot that is *closed*: nothing is put in, and its granules are not counted as
  /// held.
  @usableFromInline let slabWord: Atomic<UInt64>
  /// Calls that succeeded without the pool.
  @usableFromInline let allocations = Atomic<Int>(0)
  @usableFromInline let frees = Atomic<Int>(0)

  /// A closed slot.
  init(_ none: SlabReference) { slabWord = Atomic(none.word) }

  /// The slab that `slabWord` describes. The cache's thread writes it.
  @inlinable @inline(__always)
  var slab: SlabReference {
    get { SlabReference(knownWord: slabWord.load(ordering: .relaxed)) }
    nonmutating set { slabWord.store(newValue.word, ordering: .relaxed) }
  }

  /// Whether the slot counts as held, and nothing is in it: for other threads a snapshot.
  func isEmpty(_ none: SlabReference) -> Bool {
    object.load(ordering: .relaxed) == 0 && slabWord.load(ordering: .relaxed) != none.word
  }
}

/// The slots of a cache, one for each number of granules, and what else other threads read.
// SAFETY: made by a cache and ended with it, after all its slabs, by which other threads find a
// slot, and after it has left the allocator's books.
@safe @usableFromInline
struct CacheSlots: Equatable {
  @usableFromInline let slots: UnsafeMutablePointer<CacheSlot>

  /// Closed slots, in lines that no other cache writes.
  init(_ none: SlabReference) {
    let size = Slab.mostGranules * MemoryLayout<CacheSlot>.stride
    let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 128)
    unsafe slots = memory.bindMemory(to: CacheSlot.self, capacity: Slab.mostGranules)
    for index in 0..<Slab.mostGranules {
      unsafe (slots + index).initialize(to: CacheSlot(none))
    }
  }

  /// The slot for objects of `index` + 1 granules.
  @inlinable @inline(__always)
  subscript(index: Int) -> CacheSlot {
    _read {
      assert(index >= 0 && index < Slab.mostGranules, "a slot for each size")
      yield unsafe slots[index]
    }
  }

  func deallocate() {
    unsafe slots.deinitialize(count: Slab.mostGranules)
    unsafe UnsafeMutableRawPointer(slots).deallocate()
  }

  @usableFromInline static func == (left: Self, right: Self) -> Bool {
    unsafe left.slots == right.slots
  }
}
