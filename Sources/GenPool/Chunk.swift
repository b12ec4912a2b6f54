import Synchronization

/// A contiguous piece of memory in a pool, as it was when looked at. The kernel's
/// `struct gen_pool_chunk`.
public struct Chunk: Hashable, Sendable {
  /// The virtual address of the first byte.
  public let start: VirtualAddress
  /// The size in bytes. A tail shorter than a granule counts, but is never handed out.
  public let size: ByteCount
  /// The physical address of the first byte, if the chunk has any.
  public let physical: PhysicalAddress?
  /// The bus address of the first byte, if the chunk has any.
  public let bus: BusAddress?
  /// What the chunk's maker gave with it.
  public let owner: Owner?
  /// The bytes not allocated, the tail included. The kernel's `avail`.
  public let available: ByteCount
  /// How many whole granules the chunk has.
  public let granules: GranuleCount
  /// Whether nothing more is allocated from it: ``Pool/drain(chunkAt:)``.
  public let isDraining: Bool
}

/// An opaque word that comes back with every allocation from a chunk: the kernel's `void *owner`.
public struct Owner: Hashable, Sendable {
  /// The word. 0 is a value like any other, although C callers cannot tell it from none.
  public let rawValue: UInt

  /// The owner `rawValue`.
  public init(_ rawValue: UInt) {
    self.rawValue = rawValue
  }
}

/// What an allocation asks of a chunk.
struct ChunkRequest {
  /// The bytes asked for, not the granules that hold them: the kernel compares these.
  let size: ByteCount
  let count: GranuleCount
  /// How long a free run there must be at least for the fit to find anything.
  let run: GranuleCount
  /// The alignment of its place, in powers of two of granules; 0 for any.
  let order: Int
  /// Whether that is counted from the chunk's start.
  let fromChunkStart: Bool
}

/// How a chunk's life goes on.
enum ChunkPhase: UInt8, AtomicRepresentable {
  case open
  /// Allocations pass over it.
  case draining
  /// Its place in the list is all that is left.
  case removed
  /// The pool was destroyed; queries work.
  case closed
}

/// A chunk in the pool: what never changes, and the bitmap with its index under a lock.
///
/// Invariant: `available` = size − allocated granules, and `longest` is the longest free run, except
/// for a moment inside the lock: only its holder writes them. Chunks
/// form a list, newest first, that only grows at its head while the pool lives.
struct ChunkStorage: ~Copyable {
  // First what those read who pass the chunk by: together less than a cache line.
  let start: VirtualAddress
  let size: ByteCount
  /// Read without the lock to pass over chunks that cannot serve, as the kernel does.
  let available: Atomic<UInt64>
  /// The length of the longest free run, in granules: read without the lock as well, so that a chunk
  /// without room is passed over without waiting for anybody.
  let longest: Atomic<Int>
  /// The longest run from any aligned place, by alignment, as far as is known: read without the
  /// lock as well.
  let alignedRuns = Atomic(AlignedRuns.unknown.rawValue)
  /// Changes under the lock; read without.
  let phase = Atomic(ChunkPhase.open)
  /// The next older chunk. Set before the chunk is published.
  var next: ChunkReference?
  let granule: GranuleSize

  let physical: PhysicalAddress?
  let bus: BusAddress?
  let owner: Owner?
  let traits: ChunkTraits
  /// Whether the addresses are memory of this process that may be written.
  let isMapped: Bool

  /// How many whole granules there are.
  let granules: GranuleCount
  let state: Locked<State>

  /// What changes.
  struct State: ~Copyable {
    var index: RunIndex<NativeShape>
    /// The pool's fit, a copy under the lock that an allocation takes anyway.
    var fit: Fit
    /// What keeps the memory alive, for as long as the chunk is open.
    var backing: AnyObject?
    /// Calls that succeeded, and the least ``ChunkStorage/available`` after one.
    var allocations = 0
    var frees = 0
    var leastAvailable: UInt64
    /// Whose the granules are, once anybody said so of one: 0 for nobody's.
    var tags: Table<UInt32>?
    /// Whether there are ``tags``.
    var isTagged = false
  }

  init(
    start: VirtualAddress, size: ByteCount, physical: PhysicalAddress?, bus: BusAddress?,
    owner: Owner?, traits: ChunkTraits, granule: GranuleSize, fit: Fit,
    index: consuming RunIndex<NativeShape>, backing: AnyObject?, isMapped: Bool
  ) {
    self.start = start
    self.size = size
    self.physical = physical
    self.bus = bus
    self.owner = owner
    self.traits = traits
    self.granule = granule
    self.isMapped = isMapped
    granules = index.bitmap.count
    available = Atomic(size.rawValue)
    longest = Atomic(index.longest.rawValue)
    state = Locked(
      State(index: index, fit: fit, backing: backing, leastAvailable: size.rawValue))
  }

  /// Whether the chunk takes allocations.
  @inline(__always)
  var isOpen: Bool { phase.load(ordering: .relaxed) == .open }

  /// Whether what is allocated from the chunk can be used and freed.
  @inline(__always)
  var isInUse: Bool { phase.load(ordering: .relaxed).rawValue <= ChunkPhase.draining.rawValue }

  /// Whether the chunk has left the pool.
  @inline(__always)
  var isRemoved: Bool { phase.load(ordering: .relaxed) == .removed }

  /// The bytes allocated.
  var held: ByteCount { size - ByteCount(available.load(ordering: .relaxed)) }

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
    // Where the addresses are not aligned as the distances from the start are, the index says
    // nothing here.
    let mask: UInt64 = 1 &<< UInt64(truncatingIfNeeded: order) &- 1
    guard fromChunkStart || start.rawValue &>> UInt64(granule.order) & mask == 0 else { return nil }
    return AlignedRuns(rawValue: alignedRuns.load(ordering: .relaxed)).longest(order)
  }

  /// Whether `address` lies in the chunk, the tail included.
  @inline(__always)
  func contains(_ address: VirtualAddress) -> Bool {
    address.rawValue &- start.rawValue < size.rawValue
  }

  /// The distance of an address in the chunk from its start.
  @inline(__always)
  func offset(of address: VirtualAddress) -> ByteCount {
    ByteCount(address.rawValue &- start.rawValue)
  }

  /// The address in the chunk for which `address` stands, if the chunk's first byte is at `first` in that
  /// space; nil outside.
  func start<Space>(at address: Address<Space>, from first: Address<Space>) -> VirtualAddress? {
    guard address >= first, address - first < size else { return nil }
    return start + (address - first)
  }

  @inline(__always)
  func address(of index: GranuleIndex) -> VirtualAddress {
    VirtualAddress(start.rawValue &+ UInt64(index.rawValue) &<< UInt64(granule.order))
  }

  /// The granules that `size` bytes from `first` on touch or round up to. They may pass the chunk's
  /// last whole granule.
  @inline(__always)
  func run(_ first: VirtualAddress, _ size: ByteCount) -> GranuleRun {
    let index = offset(of: first).rawValue >> UInt64(granule.order)
    return GranuleRun(first: GranuleIndex(Int(index)), count: granule.granules(holding: size))
  }

  /// The same if there are any, and all are whole granules of the chunk, in which `first` lies.
  @inline(__always)
  func runInside(_ first: VirtualAddress, _ size: ByteCount) -> GranuleRun? {
    let offset = offset(of: first).rawValue
    let (last, wraps) = offset.addingReportingOverflow(size.rawValue &- 1)
    let order = UInt64(granule.order)
    let index = Int(truncatingIfNeeded: offset >> order)
    let count = Int(truncatingIfNeeded: (size.rawValue &- 1) >> order) &+ 1
    guard size > .zero, !wraps, last < self.size.rawValue, index &+ count <= granules.rawValue
    else { return nil }
    return GranuleRun(first: GranuleIndex(index), count: GranuleCount(count))
  }

  /// Allocates `size` bytes, at least 1, by the first fit; nil when there is no place, or the chunk takes
  /// none. Takes the lock, if it is worth it.
  @inline(__always)
  func allocateFirstFit(_ size: ByteCount) -> VirtualAddress? {
    let last = size.rawValue &- 1
    guard last < available.load(ordering: .relaxed) else { return nil }
    let count = Int(truncatingIfNeeded: last &>> UInt64(granule.order)) &+ 1
    guard count <= longest.load(ordering: .relaxed) else { return nil }
    return state.withLock { state in
      guard isOpen else { return nil }
      return allocateFirstFit(GranuleCount(count), in: &state).map { address(of: $0) }
    }
  }

  /// Marks the lowest run of `count` granules as allocated; its start, nil when there is none. The
  /// lock is held.
  @inline(__always)
  func allocateFirstFit(_ count: GranuleCount, in state: inout State) -> GranuleIndex? {
    guard let first = state.index.allocateFirstFit(count) else { return nil }
    noteAllocation(count, in: &state)
    return first
  }

  /// Allocates what is asked for by any fit whose places the index finds; nil when there is no
  /// place, or the chunk takes none. Takes the lock, if it is worth it.
  @inline(__always)
  func allocate(_ request: ChunkRequest, by fit: IndexedFit) -> VirtualAddress? {
    guard mayServe(request) else { return nil }
    return state.withLock { state in
      guard isOpen, let first = state.index.allocate(request.count, by: fit, granule) else {
        return nil
      }
      noteAllocation(request.count, in: &state)
      return address(of: first)
    }
  }

  /// Marks a run as allocated. The lock is held, the run is free.
  @inline(never)
  func allocate(_ run: GranuleRun, in state: inout State) {
    state.index.allocate(run)
    noteAllocation(run.count, in: &state)
  }

  @inline(__always)
  private func noteAllocation(_ count: GranuleCount, in state: inout State) {
    let left = available.load(ordering: .relaxed) &- granule.bytes(count).rawValue
    state.allocations &+= 1
    state.leastAvailable = min(state.leastAvailable, left)
    publish(left, state)
  }

  /// Marks a run as free if that is simple: see ``RunIndex/freeInsideBlock(_:)``. The lock is held.
  @inline(__always)
  func freeInsideBlock(_ run: GranuleRun, in state: inout State) -> Bool {
    guard isInUse, state.index.freeInsideBlock(run) else { return false }
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
    state.frees &+= 1
    if state.isTagged { state.tag(run, as: nil) }
    publish(available.load(ordering: .relaxed) &+ granule.bytes(run.count).rawValue, state)
  }

  /// Tells those without the lock. Plain stores will do: nobody else writes.
  @inline(__always)
  private func publish(_ bytes: UInt64, _ state: borrowing State) {
    available.store(bytes, ordering: .relaxed)
    longest.store(state.index.longest.rawValue, ordering: .relaxed)
    alignedRuns.store(state.index.alignedRuns.rawValue, ordering: .relaxed)
  }

  /// The chunk as its users see it.
  var snapshot: Chunk {
    Chunk(
      start: start, size: size, physical: physical, bus: bus, owner: owner,
      available: ByteCount(available.load(ordering: .relaxed)), granules: granules,
      isDraining: phase.load(ordering: .relaxed) == .draining)
  }
}
