public import Synchronization

/// A run of granules that a cache took from a chunk: up to 64 objects of one size.
///
/// Each object is held (by the cache: free, or in its slot), out (the cache's user has it) or
/// disowned (an ordinary allocation, or free in the pool). Only the cache's thread frees and takes
/// objects, without a lock; only the holder of the chunk's lock disowns them: the cache when it
/// gives objects back, any other thread that frees or tags one through the pool.
///
/// Invariant: no object is held and disowned, or free and in the slot. A chunk's word for a granule
/// names the slab of which it is, unless that object is disowned.
@usableFromInline
struct Slab: ~Copyable {
  // Fields that each call reads come first: one cache line.
  /// The first object.
  @usableFromInline let start: AnyAddress
  /// The size of an object, in bytes.
  let objectSize: UInt64
  /// The inverse modulo 2^64 of the odd factor of ``objectSize``, and the exponent of its even one:
  /// a product and a rotation instead of a division.
  @usableFromInline let inverse: UInt64
  @usableFromInline let exponent: UInt32
  /// The number of objects, 1 … 64; 0 in the slab that stands for none.
  @usableFromInline let objectCount: UInt32
  /// A bit for each object that is free to be taken.
  @usableFromInline let free: Atomic<UInt64>
  /// A bit for each object that is not the cache's any more.
  @usableFromInline let disowned: Atomic<UInt64>
  /// The owner of the chunk.
  @usableFromInline let owner: Owner?

  /// The slots of the cache; nil in the slab that stands for none.
  let slots: CacheSlots?
  /// The chunk; nil in the slab that stands for none.
  let chunk: ChunkReference?
  /// The chunk's life when the slab was taken.
  let life: UInt32
  /// The cache's number for the slab.
  var number: UInt32 = 0
  /// The first granule, counted from the chunk's start.
  let first: Int
  /// The granules of an object, 1 … 64.
  let granules: Int
  /// The cache's lists: see ``CacheState``.
  var next: SlabReference?
  var previous: SlabReference?
  var isListed = false

  /// The most granules of an object.
  @inlinable static var mostGranules: Int { 1 << orderOfMostGranules }
  @inlinable static var orderOfMostGranules: UInt64 { 6 }
  /// The most objects.
  static var mostObjects: Int { 64 }

  /// A slab whose objects are all free.
  init(
    _ chunk: ChunkReference, first: GranuleIndex, granules: Int, objects: Int, owner: Owner?,
    slots: CacheSlots
  ) {
    let granule = chunk.pointee.granule
    start = chunk.pointee.address(of: first)
    objectSize = granule.bytes(GranuleCount(granules)).rawValue
    exponent = UInt32(objectSize.trailingZeroBitCount)
    inverse = inverted(objectSize >> UInt64(objectSize.trailingZeroBitCount))
    objectCount = UInt32(objects)
    free = Atomic(~0 >> UInt64(64 - objects))
    disowned = Atomic(0)
    self.owner = owner
    self.slots = slots
    self.chunk = chunk
    life = chunk.pointee.life.load(ordering: .relaxed)
    self.first = first.rawValue
    self.granules = granules
  }

  /// The slab that stands for none.
  init() {
    start = Address(0)
    objectSize = 1
    inverse = 1
    exponent = 0
    objectCount = 0
    free = Atomic(0)
    disowned = Atomic(0)
    owner = nil
    slots = nil
    chunk = nil
    life = 0
    first = 0
    granules = 1
  }

  /// The number of objects.
  var objects: Int { Int(objectCount) }

  /// The size of all objects, in bytes.
  var byteCount: UInt64 { objectSize * UInt64(objectCount) }

  /// A bit for each object.
  var everyObject: UInt64 { objects == 0 ? 0 : ~0 >> UInt64(64 - objects) }

  /// A bit for the object that is in the cache's slot, 0 when none of this slab is.
  var inSlot: UInt64 {
    guard let slots else { return 0 }
    let address = slots[granules - 1].object.load(ordering: .relaxed)
    guard address != 0, let object = object(at: Address(address)) else { return 0 }
    // A newer slab has it where this one has disowned it.
    return 1 << object & ~disowned.load(ordering: .relaxed)
  }

  /// A bit for each object that the cache holds.
  var held: UInt64 { free.load(ordering: .relaxed) | inSlot }

  /// A bit for each object that the cache's user has.
  var out: UInt64 { everyObject & ~(held | disowned.load(ordering: .relaxed)) }

  /// Whether the chunk still hands out what is in the slab.
  var isInOpenChunk: Bool {
    guard let chunk else { return false }
    // In this order: another chunk in its place has another life before it is open.
    return chunk.pointee.phase.load(ordering: .acquiring) == .open
      && chunk.pointee.life.load(ordering: .relaxed) == life
  }

  /// The object that starts at an address; nil when none does.
  @inlinable @inline(__always)
  func object(at address: AnyAddress) -> UInt64? {
    // One to one over all words, and a multiple of the object's size becomes the factor: what is
    // below the number of objects is an object, and nothing else is.
    let product = (address.rawValue &- start.rawValue) &* inverse
    let exponent = UInt64(truncatingIfNeeded: exponent)
    let object = product &>> exponent | product &<< (64 &- exponent)
    return object < UInt64(truncatingIfNeeded: objectCount) ? object : nil
  }

  /// Whether an object is out or in a slot.
  @inlinable @inline(__always)
  func isNeitherFreeNorDisowned(_ object: UInt64) -> Bool {
    (free.load(ordering: .relaxed) | disowned.load(ordering: .relaxed)) &>> object & 1 == 0
  }

  /// The bit of the object of which a granule of the chunk is.
  func bit(ofGranule granule: Int) -> UInt64 { 1 << UInt64((granule - first) / granules) }

  /// The granule behind the object of which a granule of the chunk is.
  func end(ofObjectWith granule: Int) -> Int {
    first + ((granule - first) / granules + 1) * granules
  }
}

/// The inverse of an odd number modulo 2^64, by Newton's method: three bits are right at first, and
/// twice as many after each step.
private func inverted(_ odd: UInt64) -> UInt64 {
  var inverse = odd
  for _ in 0..<5 { inverse = inverse &* (2 &- odd &* inverse) }
  return inverse
}

/// The place of a slab, while its cache has it.
// SAFETY: made and ended by the cache; other threads find it by a word of its chunk, under the
// chunk's lock, and the cache clears those words under that lock before it ends the slab.
@safe @usableFromInline
struct SlabReference: Equatable {
  @usableFromInline let pointer: UnsafeMutablePointer<Slab>

  init(_ slab: consuming Slab) {
    // Two lines, as processors fetch them: no other cache's words are in either.
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 128, alignment: 128)
    precondition(MemoryLayout<Slab>.size <= 128, "a slab has two lines")
    unsafe pointer = memory.bindMemory(to: Slab.self, capacity: 1)
    unsafe pointer.initialize(to: slab)
  }

  /// The reference in a word of a chunk; nil for 0.
  init?(word: UInt64) {
    guard
      let pointer = unsafe UnsafeMutablePointer<Slab>(bitPattern: UInt(truncatingIfNeeded: word))
    else {
      return nil
    }
    unsafe self.pointer = pointer
  }

  /// The reference in a word that is not 0.
  @inlinable @inline(__always)
  init(knownWord word: UInt64) {
    assert(word != 0, "a slab")
    let pointer = unsafe UnsafeMutablePointer<Slab>(bitPattern: UInt(truncatingIfNeeded: word))
    unsafe self.pointer = pointer.unsafelyUnwrapped
  }

  @inlinable var word: UInt64 { unsafe UInt64(UInt(bitPattern: pointer)) }

  @inlinable @inline(__always)
  var pointee: Slab {
    _read { yield unsafe pointer.pointee }
    nonmutating _modify { yield unsafe &pointer.pointee }
  }

  func deallocate() {
    unsafe pointer.deinitialize(count: 1)
    unsafe UnsafeMutableRawPointer(pointer).deallocate()
  }

  @usableFromInline static func == (left: Self, right: Self) -> Bool {
    unsafe left.pointer == right.pointer
  }
}
