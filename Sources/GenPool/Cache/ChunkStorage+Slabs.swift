import Synchronization

/// The slabs of caches in a chunk: a word for each granule says of which it is, so that a free or a
/// tag by the pool's own methods finds what a cache holds. Read and written under the chunk's lock.
struct SlabMap: ~Copyable {
  private var words: Table<UInt64>?
  private var hasWords = false
  /// The number of slabs.
  private(set) var count = 0

  /// Has room for a chunk's granules; false without memory.
  mutating func prepare(_ granules: GranuleCount) -> Bool {
    if hasWords { return true }
    guard let table = Table<UInt64>(count: granules.rawValue) else { return false }
    words = consume table
    hasWords = true
    return true
  }

  /// The slab of which a granule is; nil when no cache has it.
  func slab(of granule: Int) -> SlabReference? {
    switch words {
    case .some(let words): SlabReference(word: words[granule])
    case nil: nil
    }
  }

  mutating func insert(_ slab: SlabReference) {
    count += 1
    set(slab.pointee.first, slab.pointee.objects * slab.pointee.granules, to: slab.word)
  }

  mutating func remove(_ slab: SlabReference) {
    disown(slab, slab.pointee.everyObject & ~slab.pointee.disowned.load(ordering: .relaxed))
    count -= 1
  }

  /// Objects become ordinary allocations.
  func disown(_ slab: SlabReference, _ objects: UInt64) {
    forEachRun(objects) { first, count in
      set(
        slab.pointee.first + first * slab.pointee.granules, count * slab.pointee.granules, to: 0)
    }
    slab.pointee.disowned.store(
      slab.pointee.disowned.load(ordering: .relaxed) | objects, ordering: .relaxed)
  }

  private func set(_ first: Int, _ count: Int, to word: UInt64) {
    switch words {
    case .some(let words): for granule in first..<(first + count) { words[granule] = word }
    case nil: break
    }
  }

  /// The first granule of `run` that a cache holds; nil for none.
  func firstHeld(in run: GranuleRun) -> GranuleIndex? {
    var granule = run.first.rawValue
    while granule < run.end.rawValue {
      guard let slab = slab(of: granule) else {
        granule += 1
        continue
      }
      if slab.pointee.held & slab.pointee.bit(ofGranule: granule) != 0 {
        return GranuleIndex(granule)
      }
      granule = slab.pointee.end(ofObjectWith: granule)
    }
    return nil
  }

  /// Every object of which `run` has a granule becomes an ordinary allocation. None is held.
  func disown(_ run: GranuleRun) {
    var granule = run.first.rawValue
    while granule < run.end.rawValue {
      guard let slab = slab(of: granule) else {
        granule += 1
        continue
      }
      disown(slab, slab.pointee.bit(ofGranule: granule))
      granule = slab.pointee.end(ofObjectWith: granule)
    }
  }
}

/// Visits the runs of ones in a word, lowest first.
func forEachRun(_ bits: UInt64, _ body: (_ first: Int, _ count: Int) -> Void) {
  var rest = bits
  while rest != 0 {
    let first = rest.trailingZeroBitCount
    let count = (~(rest >> UInt64(first))).trailingZeroBitCount
    body(first, count)
    rest &= first + count < 64 ? ~0 << UInt64(first + count) : 0
  }
}

extension ChunkStorage {
  /// Takes a slab by the first fit; nil without a place or memory for its words. The allocator does
  /// not count it as an allocation: the cache counts what it hands out. Takes the lock.
  func takeSlab(_ chunk: ChunkReference, granules: Int, objects: Int, slots: CacheSlots)
    -> SlabReference?
  {
    state.withLock { state in
      guard isOpen, state.slabs.prepare(self.granules),
        let first = allocateFirstFit(GranuleCount(granules * objects), in: &state)
      else { return nil }
      state.allocations &-= 1
      let slab = SlabReference(
        Slab(
          chunk, first: first, granules: granules, objects: objects, owner: state.owner,
          slots: slots))
      state.slabs.insert(slab)
      return slab
    }
  }

  /// Frees what is free of a slab in this chunk, nothing of which is in a slot, and with `isEnding`
  /// makes ordinary allocations of what is out. Nothing to do in a chunk that was removed. Takes
  /// the lock.
  func giveBack(_ slab: SlabReference, isEnding: Bool) {
    let held = slab.pointee.free.load(ordering: .relaxed)
    slab.pointee.free.store(0, ordering: .relaxed)
    state.withLock { state in
      guard !isRemoved, life.load(ordering: .relaxed) == slab.pointee.life else {
        slab.pointee.disowned.store(slab.pointee.everyObject, ordering: .relaxed)
        return
      }
      // One that another thread freed at the same moment is not this cache's to free again.
      let held = held & ~slab.pointee.disowned.load(ordering: .relaxed)
      state.slabs.disown(slab, held)
      forEachRun(held) { first, count in
        free(
          GranuleRun(
            first: GranuleIndex(slab.pointee.first + first * slab.pointee.granules),
            count: GranuleCount(count * slab.pointee.granules)), in: &state)
        state.frees &-= 1
      }
      if isEnding { state.slabs.remove(slab) }
    }
  }
}

extension ChunkStorage {
  /// The first rule about slabs that does not hold; nil when all do. No other thread is there.
  var brokenSlabRule: String? {
    guard !isRemoved, state.value.slabs.count > 0 else { return nil }
    var slabs: [SlabReference] = []
    for granule in 0..<granules.rawValue {
      guard let slab = state.value.slabs.slab(of: granule) else { continue }
      if !slabs.contains(slab) { slabs.append(slab) }
      if slab.pointee.disowned.load(ordering: .relaxed) & slab.pointee.bit(ofGranule: granule) != 0
      {
        return "no word for what is disowned"
      }
      if !state.value.index.bitmap.isAllocated(GranuleIndex(granule)) {
        return "what is in a slab is allocated"
      }
    }
    return slabs.count <= state.value.slabs.count ? nil : "all slabs are counted"
  }
}
