import Synchronization

/// An address of an allocator's space, whichever it is: the engine inside is compiled once, and no
/// address of one allocator ever meets another's.
@usableFromInline
typealias AnyAddress = Address<AnySpace>
/// See ``AnyAddress``.
@usableFromInline
enum AnySpace: AddressSpace {}

extension Address {
  /// The same number in another space: at the edge of an allocator, and nowhere else.
  @inlinable @inline(__always)
  init<Other>(_ other: Address<Other>) { self.init(other.rawValue) }
}

/// The stages of a chunk's life.
enum ChunkPhase: UInt8, AtomicRepresentable {
  case open
  /// Allocations pass over it.
  case draining
  /// The chunk has left the allocator; its storage waits for another one.
  case removed
  /// The allocator was destroyed; queries work.
  case closed
}

/// A chunk in an allocator: what may be read without a lock, and the bitmap with its index under
/// one.
///
/// A storage lives as long as its allocator. A chunk that is removed leaves it to the next that is
/// added, so that those who still look at it without the lock see a chunk, at worst another one:
/// what they find out counts only if it is still so under the lock. ``life`` says whether it is the
/// same.
///
/// Invariant: `available` = size − allocated granules, and `longest` is the longest free run,
/// except for a moment inside the lock: only its holder writes them.
struct ChunkStorage: ~Copyable {
  // First what those read who pass the chunk by: together less than a cache line.
  private let startWord: Atomic<UInt64>
  private let sizeWord: Atomic<UInt64>
  /// Read without the lock to pass over chunks that cannot serve, as the kernel does.
  let available: Atomic<UInt64>
  /// The length of the longest free run, in granules: read without the lock as well, so that a
  /// chunk without room is passed over without waiting for its lock.
  let longest: Atomic<Int>
  /// The longest run from any aligned place, by alignment, as far as is known: read without the
  /// lock as well.
  private let alignedRuns = Atomic(AlignedRuns.unknown.rawValue)
  /// Changes under the lock; read without.
  let phase = Atomic(ChunkPhase.open)
  /// The number of chunks that this has been before.
  let life = Atomic<UInt32>(0)
  let granule: GranuleSize
  let state: Locked<State>
  /// The storage made before this one, for the end of all.
  let madeBefore: ChunkReference?

  /// The part that does not change while the chunk is there.
  struct Identity {
    let start: AnyAddress
    let size: ByteCount
    let physical: PhysicalAddress?
    let bus: BusAddress?
    let traits: ChunkTraits
    /// Whether the addresses are memory of this process that may be written.
    let isMapped: Bool
  }

  /// The part that is read and changed under the lock.
  struct State: ~Copyable {
    var identity: Identity
    /// Given back with each allocation. Not part of the identity, all of which would be copied.
    var owner: Owner?
    var index: RunIndex<NativeShape>
    /// The allocator's fit, a copy under the lock that an allocation takes anyway.
    var fit: Fit
    /// The object that keeps the memory alive, for as long as the chunk is open.
    var backing: AnyObject?
    /// Calls that succeeded, and the least ``ChunkStorage/available`` after one.
    var allocations = 0
    var frees = 0
    var leastAvailable: UInt64
    /// The tag of each granule, once one was tagged: 0 for none.
    var tags: Table<UInt32>?
    /// Whether there are ``tags``.
    var isTagged = false
    /// The slabs of caches here.
    var slabs = SlabMap()
    /// The words of the list for this chunk; nil as long as it was always alone.
    var place: ChunkList.Place?

    init(
      _ identity: Identity, owner: Owner?, index: consuming RunIndex<NativeShape>, fit: Fit,
      backing: AnyObject?
    ) {
      self.identity = identity
      self.owner = owner
      self.index = index
      self.fit = fit
      self.backing = backing
      leastAvailable = identity.size.rawValue
    }
  }

  init(_ state: consuming State, granule: GranuleSize, madeBefore: ChunkReference?) {
    startWord = Atomic(state.identity.start.rawValue)
    sizeWord = Atomic(state.identity.size.rawValue)
    available = Atomic(state.identity.size.rawValue)
    longest = Atomic(state.index.longest.rawValue)
    self.granule = granule
    self.madeBefore = madeBefore
    self.state = Locked(state)
  }

  /// Becomes another chunk after the last one was removed. The allocator's lock is held.
  func reuse(for new: consuming State) {
    state.acquire()
    defer { state.release() }
    startWord.store(new.identity.start.rawValue, ordering: .relaxed)
    sizeWord.store(new.identity.size.rawValue, ordering: .relaxed)
    available.store(new.identity.size.rawValue, ordering: .relaxed)
    longest.store(new.index.longest.rawValue, ordering: .relaxed)
    life.wrappingAdd(1, ordering: .releasing)
    state.replace(by: new)
    phase.store(.open, ordering: .releasing)
  }

  /// Leaves the allocator; what kept the memory alive. The lock is held; `empty` takes the index's
  /// place.
  func retire(
    leaving empty: consuming RunIndex<NativeShape>, in state: inout State
  ) -> AnyObject? {
    phase.store(.removed, ordering: .relaxed)
    sizeWord.store(0, ordering: .relaxed)
    longest.store(0, ordering: .relaxed)
    available.store(0, ordering: .relaxed)
    state.index = empty
    state.tags = nil
    state.isTagged = false
    state.slabs = SlabMap()
    state.place = nil
    alignedRuns.store(AlignedRuns.unknown.rawValue, ordering: .relaxed)
    return state.backing.take()
  }

  /// The address of the first byte.
  @inline(__always)
  var start: AnyAddress { Address(startWord.load(ordering: .relaxed)) }

  /// In bytes. 0 once the chunk was removed.
  @inline(__always)
  var size: ByteCount { ByteCount(sizeWord.load(ordering: .relaxed)) }

  /// The address of the first byte, in granules, rounded down.
  @inline(__always)
  var origin: UInt64 { start.rawValue &>> UInt64(granule.order) }

  /// The number of whole granules.
  @inline(__always)
  var granules: GranuleCount { granule.granules(within: size) }

  /// Whether the chunk takes allocations.
  @inline(__always)
  var isOpen: Bool { phase.load(ordering: .relaxed) == .open }

  /// Whether what is allocated from the chunk can be used and freed.
  @inline(__always)
  var isInUse: Bool { phase.load(ordering: .relaxed).rawValue <= ChunkPhase.draining.rawValue }

  /// Whether the chunk has left the allocator.
  @inline(__always)
  var isRemoved: Bool { phase.load(ordering: .relaxed) == .removed }

  /// The bytes allocated.
  var held: ByteCount { size - ByteCount(available.load(ordering: .relaxed)) }

  /// Whether so many bytes are free in the chunk, and may be had.
  @inline(__always)
  func mayHold(_ size: ByteCount) -> Bool {
    isOpen && size.rawValue <= available.load(ordering: .relaxed)
  }

  /// Whether it is worth asking, as far as is known without the lock.
  @inline(__always)
  func mayServe(_ request: ChunkRequest) -> Bool {
    request.size.rawValue <= available.load(ordering: .relaxed)
      && request.run.rawValue <= longest.load(ordering: .relaxed)
      && (request.order == 0
        || request.run.rawValue <= longestRun(request.order, request.fromChunkStart) ?? .max)
  }

  /// The longest run from a place of an alignment in powers of two of granules, as far as is known
  /// without the lock.
  @inline(__always)
  func longestRun(_ order: Int, _ fromChunkStart: Bool) -> Int? {
    // The index counts places from the chunk's start. They are places by address only if the start
    // is aligned as well.
    let mask: UInt64 = 1 &<< UInt64(truncatingIfNeeded: order) &- 1
    guard fromChunkStart || origin & mask == 0 else { return nil }
    return AlignedRuns(rawValue: alignedRuns.load(ordering: .relaxed)).longest(order)
  }

  /// Whether `address` lies in the chunk, the tail included.
  @inline(__always)
  func contains(_ address: AnyAddress) -> Bool {
    address.rawValue &- start.rawValue < size.rawValue
  }

  /// The distance of an address in the chunk from its start.
  @inline(__always)
  func offset(of address: AnyAddress) -> ByteCount {
    ByteCount(address.rawValue &- start.rawValue)
  }

  @inline(__always)
  func address(of index: GranuleIndex) -> AnyAddress {
    Address(start.rawValue &+ UInt64(index.rawValue) &<< UInt64(granule.order))
  }

  /// The granules that `size` bytes from `first` on touch or round up to. They may pass the chunk's
  /// last whole granule.
  @inline(__always)
  func run(_ first: AnyAddress, _ size: ByteCount) -> GranuleRun {
    let index = offset(of: first).rawValue >> UInt64(granule.order)
    return GranuleRun(first: GranuleIndex(Int(index)), count: granule.granules(holding: size))
  }

  /// The same if there are any, and all are whole granules of the chunk, in which `first` lies.
  @inline(__always)
  func runInside(_ first: AnyAddress, _ size: ByteCount) -> GranuleRun? {
    let offset = offset(of: first).rawValue
    let (last, wraps) = offset.addingReportingOverflow(size.rawValue &- 1)
    let order = UInt64(granule.order)
    let index = Int(truncatingIfNeeded: offset >> order)
    let count = Int(truncatingIfNeeded: (size.rawValue &- 1) >> order) &+ 1
    let all = self.size.rawValue
    guard size > .zero, !wraps, last < all, index &+ count <= Int(truncatingIfNeeded: all >> order)
    else { return nil }
    return GranuleRun(first: GranuleIndex(index), count: GranuleCount(count))
  }

  /// Allocates `size` bytes, at least 1, by the first fit; nil when there is no place, or the chunk
  /// takes none. Takes the lock, if it is worth it.
  @inline(__always)
  func allocateFirstFit(_ size: ByteCount) -> (start: AnyAddress, owner: Owner?)? {
    let last = size.rawValue &- 1
    guard last < available.load(ordering: .relaxed) else { return nil }
    let count = Int(truncatingIfNeeded: last &>> UInt64(granule.order)) &+ 1
    guard count <= longest.load(ordering: .relaxed) else { return nil }
    return state.withLock { state in
      guard isOpen, let first = allocateFirstFit(GranuleCount(count), in: &state) else {
        return nil
      }
      return (address(of: first), state.owner)
    }
  }

  /// Marks the lowest run of `count` granules as allocated; its start, nil when there is none. The
  /// lock is held.
  @inline(__always)
  func allocateFirstFit(_ count: GranuleCount, in state: inout State) -> GranuleIndex? {
    guard let first = state.index.allocateFirstFit(count) else { return nil }
    noteAllocations(1, of: count, in: &state)
    return first
  }

  /// Allocates what is asked for by any fit whose places the index finds; nil when there is no
  /// place, or the chunk takes none. Takes the lock, if it is worth it.
  @inline(__always)
  func allocate(
    _ request: ChunkRequest, by fit: IndexedFit
  ) -> (start: AnyAddress, owner: Owner?)? {
    guard mayServe(request) else { return nil }
    return state.withLock { state in
      guard isOpen else { return nil }
      guard let first = state.index.allocate(request.count, by: fit, granule) else {
        // The search may have found out what there is not.
        publishRuns(&state)
        return nil
      }
      noteAllocations(1, of: request.count, in: &state)
      return (address(of: first), state.owner)
    }
  }

  /// Marks a run as allocated. The lock is held, the run is free.
  @inline(never)
  func allocate(_ run: GranuleRun, in state: inout State) {
    state.index.allocate(run)
    noteAllocations(1, of: run.count, in: &state)
  }

  /// Publishes what `times` allocations took together. The lock is held.
  @inline(__always)
  func noteAllocations(_ times: Int, of count: GranuleCount, in state: inout State) {
    let left = available.load(ordering: .relaxed) &- granule.bytes(count).rawValue
    state.allocations &+= times
    state.leastAvailable = min(state.leastAvailable, left)
    publish(left, &state)
  }

  /// Marks a run as free if that is simple: see ``RunIndex/freeInsideBlock(_:)``. The lock is held.
  @inline(__always)
  func freeInsideBlock(_ run: GranuleRun, in state: inout State) -> Bool {
    guard isInUse, state.slabs.count == 0, state.index.freeInsideBlock(run) else { return false }
    noteFree(run, in: &state)
    return true
  }

  /// Marks a run as free. The lock is held, the run is allocated.
  func free(_ run: GranuleRun, in state: inout State) {
    state.index.free(run)
    noteFree(run, in: &state)
  }

  @inline(__always)
  private func noteFree(_ run: GranuleRun, in state: inout State) {
    if state.isTagged { state.tag(run, as: nil) }
    noteFrees(1, of: run.count, in: &state)
  }

  /// Publishes what `times` frees gave back together. The lock is held, and the tags are gone.
  @inline(__always)
  func noteFrees(_ times: Int, of count: GranuleCount, in state: inout State) {
    state.frees &+= times
    publish(available.load(ordering: .relaxed) &+ granule.bytes(count).rawValue, &state)
  }

  /// Publishes the free bytes and runs to readers without the lock. Only the lock's holder writes,
  /// so plain stores do.
  @inline(__always)
  func publish(_ bytes: UInt64, _ state: inout State) {
    available.store(bytes, ordering: .relaxed)
    longest.store(state.index.longest.rawValue, ordering: .relaxed)
    publishRuns(&state)
  }

  /// Tells what runs there are, after a change or a search that found out more. The lock is held.
  @inline(__always)
  func publishRuns(_ state: inout State) {
    // Most chunks are alone, and asked for no alignment.
    guard state.index.hasAlignedRuns || state.place != nil else { return }
    if !state.index.hasAlignedRuns,
      state.place?.said == AlignedRuns(longest: state.index.longest.rawValue)
    {
      return
    }
    publishAllRuns(&state)
  }

  /// The same after the chunk's phase changed as well.
  @inline(never)
  func publishAllRuns(_ state: inout State) {
    let runs = offeredRuns(state)
    alignedRuns.store(runs.rawValue, ordering: .relaxed)
    state.place?.publish(runs)
  }

  /// The runs that allocations may have of the chunk. The lock is held.
  @inline(__always)
  func offeredRuns(_ state: borrowing State) -> AlignedRuns {
    isOpen ? state.index.alignedRuns : .none
  }
}

extension RangeAllocator {
  /// A chunk as its users see it. Its lock is held.
  func snapshot(_ chunk: ChunkReference, _ state: borrowing ChunkStorage.State) -> Chunk {
    let identity = state.identity
    return Chunk(
      start: Address(identity.start), size: identity.size, physical: identity.physical,
      bus: identity.bus, owner: state.owner,
      available: ByteCount(chunk.pointee.available.load(ordering: .relaxed)),
      granules: granule.granules(within: identity.size),
      isDraining: chunk.pointee.phase.load(ordering: .relaxed) == .draining)
  }
}
