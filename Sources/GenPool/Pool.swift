import CGenPoolInline
import Synchronization

/// A general-purpose allocator for special memory: the kernel's `struct gen_pool`, in user space.
///
/// A pool is a list of chunks, newest first. Sizes are rounded up to granules; an allocation lies
/// in one chunk; the newest chunk in which the fit finds a place wins. No record of allocations
/// exists beside the bitmaps: any allocated range may be freed, in parts or across neighbours, and
/// the managed memory itself is never touched (zeroing apart).
///
/// Every method may be called from any thread. In a forked child all that changes something throws
/// ``PoolError/forked``; queries work.
public final class Pool: Sendable {
  /// The smallest amount handed out.
  public let granule: GranuleSize
  /// The name, in the pool's ``PoolRegistry`` or just for people.
  public let name: String?
  /// The device the memory belongs to.
  public let device: DeviceKey?
  /// The NUMA node that the memory is close to: a hint.
  public let node: NUMANode?

  /// Called for what the kernel warns of, outside of all locks.
  private let warn: (@Sendable (PoolWarning) -> Void)?
  let forkGuard = ForkGuard()

  let list = ChunkList()
  /// Held while the list or the default fit changes; never while allocating.
  let state: Locked<State>
  /// Of the default fit, and whether the pool has ended: written under ``state``, read without.
  let fitKind: Atomic<Fit.Kind>
  let isDestroyed = Atomic(false)
  /// How often an allocation failed, and why.
  let failures = FailureCounts()

  struct State: ~Copyable {
    var fit: Fit
  }

  /// An empty pool. The kernel's `gen_pool_create`.
  ///
  /// - Parameters:
  ///   - granule: the smallest amount handed out.
  ///   - fit: how a place is chosen, unless a call says otherwise.
  ///   - name: for people and for look-ups.
  ///   - device: whose memory it is.
  ///   - node: the NUMA node close to it, a hint.
  ///   - warning: called for what the kernel warns of.
  public init(
    granule: GranuleSize, fit: Fit = .first, name: String? = nil, device: DeviceKey? = nil,
    node: NUMANode? = nil, warning: (@Sendable (PoolWarning) -> Void)? = nil
  ) {
    self.granule = granule
    self.name = name
    self.device = device
    self.node = node
    warn = warning
    fitKind = Atomic(fit.kind)
    state = Locked(State(fit: fit))
  }

  // MARK: Chunks

  /// Adds memory that is only known by its addresses: nothing will be read or written there.
  /// The kernel's `gen_pool_add`, `gen_pool_add_virt` and `gen_pool_add_owner`.
  ///
  /// - Parameters:
  ///   - start: the virtual address of the first byte, not 0; any alignment.
  ///   - size: in bytes. Less than a granule is accepted and never handed out.
  ///   - physical: the physical address of the first byte, if it has one.
  ///   - bus: the bus address of the first byte, if it has one.
  ///   - owner: given back with each allocation from this chunk.
  ///   - traits: what ``Constraints`` ask for.
  /// - Throws: `chunkAtZero`, `chunkWraps`, `chunkOverlaps`, `noMemory`, `destroyed`, `forked`.
  /// - Complexity: O(chunks).
  public func add(
    start: VirtualAddress, size: ByteCount, physical: PhysicalAddress? = nil,
    bus: BusAddress? = nil, owner: Owner? = nil, traits: ChunkTraits = ChunkTraits()
  ) throws(PoolError) {
    try add(
      start: start, size: size, physical: physical, bus: bus, owner: owner, traits: traits,
      backing: nil, isMapped: false)
  }

  /// Adds mapped memory of this process, which the pool may zero.
  ///
  /// `start ..< start + size` must stay writable until the pool ends or is destroyed; `backing` is
  /// kept alive until then. Otherwise as ``add(start:size:physical:bus:owner:traits:)``.
  @unsafe
  public func add(
    mapped start: VirtualAddress, size: ByteCount, physical: PhysicalAddress? = nil,
    bus: BusAddress? = nil, owner: Owner? = nil, traits: ChunkTraits = ChunkTraits(),
    backing: AnyObject?
  ) throws(PoolError) {
    try add(
      start: start, size: size, physical: physical, bus: bus, owner: owner, traits: traits,
      backing: backing, isMapped: true)
  }

  private func add(
    start: VirtualAddress, size: ByteCount, physical: PhysicalAddress?, bus: BusAddress?,
    owner: Owner?, traits: ChunkTraits, backing: AnyObject?, isMapped: Bool
  ) throws(PoolError) {
    guard start.rawValue != 0 else { throw .chunkAtZero }
    let last = size.rawValue &- 1
    guard
      size == .zero || start.advanced(by: ByteCount(last)) != nil,
      physical == nil || size == .zero || physical?.advanced(by: ByteCount(last)) != nil,
      bus == nil || size == .zero || bus?.advanced(by: ByteCount(last)) != nil,
      let granules = Int(exactly: size.rawValue >> UInt64(granule.order))
    else { throw .chunkWraps(start, size) }
    guard !forkGuard.isForked else { throw .forked }

    try state.withLock { (state) throws(PoolError) in
      try refuseIfDestroyed()
      if let range = AddressRange(start: start, size: size), let other = overlapping(range) {
        throw .chunkOverlaps(other)
      }
      let origin = start.rawValue >> UInt64(granule.order)
      guard let index = RunIndex<NativeShape>(count: GranuleCount(granules), origin: origin) else {
        throw .noMemory
      }
      list.push(
        ChunkStorage(
          start: start, size: size, physical: physical, bus: bus, owner: owner, traits: traits,
          granule: granule, fit: state.fit, index: index, backing: backing, isMapped: isMapped))
    }
  }

  private func overlapping(_ range: AddressRange<VirtualSpace>) -> VirtualAddress? {
    list.first { chunk in
      guard let other = AddressRange(start: chunk.start, size: chunk.size) else { return nil }
      return other.overlaps(range) ? chunk.start : nil
    }
  }

  /// Ends the pool's use: its chunks let go of their memory, and everything but queries throws
  /// ``PoolError/destroyed`` from now on. The kernel's `gen_pool_destroy`.
  ///
  /// A pool that is not destroyed lets go when its last reference does, allocations or not.
  /// - Throws: `outstanding` when anything is allocated; then the pool lives on. `destroyed`,
  ///   `forked`.
  /// - Complexity: O(chunks).
  public func destroy() throws(PoolError) {
    guard !forkGuard.isForked else { throw .forked }
    // The backings are let go of after the locks: their ends run code of others.
    let backings = try state.withLock { (_) throws(PoolError) in
      try refuseIfDestroyed()
      return try close()
    }
    withExtendedLifetime(backings) {}
  }

  /// Closes all chunks or, when anything is allocated, none.
  private func close() throws(PoolError) -> [AnyObject] {
    list.forEach { $0.pointee.state.acquire() }
    defer { list.forEach { $0.pointee.state.release() } }
    var held = ByteCount.zero
    list.forEach { held += $0.pointee.held }
    guard held == .zero else { throw .outstanding(held) }
    // Under their locks: who finds a chunk closed knows why.
    isDestroyed.store(true, ordering: .relaxed)
    var backings: [AnyObject] = []
    list.forEach { chunk in
      chunk.pointee.phase.store(.closed, ordering: .relaxed)
      if let backing = chunk.pointee.state.value.backing.take() { backings.append(backing) }
    }
    return backings
  }

  /// How a place is chosen from now on, unless a call says otherwise. The kernel's
  /// `gen_pool_set_algo`.
  /// - Throws: `alignmentIsZero`, `destroyed`, `forked`.
  public func setFit(_ fit: Fit) throws(PoolError) {
    guard !forkGuard.isForked else { throw .forked }
    if let refusal = fit.refusal { throw refusal }
    try state.withLock { (state) throws(PoolError) in
      try refuseIfDestroyed()
      state.fit = fit
      fitKind.store(fit.kind, ordering: .relaxed)
      list.forEach { chunk in chunk.pointee.state.withLock { $0.fit = fit } }
    }
  }

  // MARK: Allocating

  /// Allocates `size` bytes, rounded up to granules, from the newest chunk that has a place. The
  /// kernel's `gen_pool_alloc`, `_alloc_algo`, `_alloc_owner` and `_alloc_algo_owner`.
  ///
  /// - Parameters:
  ///   - size: in bytes, at least 1.
  ///   - fit: how the place is chosen; the pool's own when nil.
  /// - Throws: `full`, `fragmented`, `noAlignedRun`, `notFree`, `emptyRequest`, `alignmentIsZero`, `fitOutOfRange`,
  ///   `fitNotFree`, `destroyed`, `forked`.
  /// - Complexity: O(chunks + log granules + allocated granules / 64). The first time that a fit or
  ///   an alignment is asked for, O(words of the bitmaps); an alignment that is no power of two and
  ///   own algorithms take that every time.
  public func allocate(_ size: ByteCount, fit: Fit? = nil) throws(PoolError) -> Allocation {
    guard (fit?.kind ?? fitKind.load(ordering: .relaxed)) == .first else {
      return try allocate(size, by: fit)
    }
    // Most calls, by a short way: nothing can be wrong with what the first fit finds.
    guard size > .zero else { throw .emptyRequest }
    guard !forkGuard.isForked else { throw .forked }
    var next = list.newest
    while let chunk = next {
      if let start = chunk.pointee.allocateFirstFit(size) {
        return Allocation(start: start, size: size, owner: chunk.pointee.owner)
      }
      next = chunk.pointee.next
    }
    throw failure(size, fit: .first)
  }

  @inline(never)
  private func allocate(_ size: ByteCount, by fit: Fit?) throws(PoolError) -> Allocation {
    let (chunk, index) = try take(size, fit: fit, busAlignment: nil)
    return Allocation(
      start: chunk.pointee.address(of: index), size: size, owner: chunk.pointee.owner)
  }

  /// Allocates memory for a device to reach. The kernel's `gen_pool_dma_alloc`,
  /// `gen_pool_dma_alloc_algo`, `gen_pool_dma_zalloc` and `gen_pool_dma_zalloc_algo`.
  ///
  /// - Parameters:
  ///   - size: in bytes, at least 1.
  ///   - fit: how the place is chosen; the pool's own when nil.
  ///   - zeroed: whether exactly `size` bytes are zeroed, by stores that device memory tolerates.
  /// - Throws: as ``allocate(_:fit:)``; `notMapped` when there is nothing to zero.
  public func allocateDMA(
    _ size: ByteCount, fit: Fit? = nil, zeroed: Bool = false
  ) throws(PoolError) -> DMAAllocation {
    try allocateDMA(size, fit: fit, busAlignment: nil, zeroed: zeroed)
  }

  /// Allocates memory for a device to reach, at a multiple of `alignment` bytes of virtual
  /// address. The kernel's `gen_pool_dma_alloc_align` and `gen_pool_dma_zalloc_align`.
  ///
  /// Regions are mapped so that this is the alignment of the physical address too. If the chunk has
  /// a bus address, its alignment is checked.
  /// - Throws: as ``allocateDMA(_:fit:zeroed:)``; `busMisaligned` when the host bridge's offset
  ///   breaks a power of two.
  public func allocateDMA(
    _ size: ByteCount, alignment: ByteCount, zeroed: Bool = false
  ) throws(PoolError) -> DMAAllocation {
    try allocateDMA(
      size, fit: .firstAligned(alignment),
      busAlignment: alignment.isPowerOfTwo ? alignment : nil, zeroed: zeroed)
  }

  private func allocateDMA(
    _ size: ByteCount, fit: Fit?, busAlignment: ByteCount?, zeroed: Bool
  ) throws(PoolError) -> DMAAllocation {
    let (chunk, index) = try take(
      size, fit: fit, busAlignment: busAlignment, mustBeMapped: zeroed)
    return handOut(size, at: index, of: chunk, zeroed: zeroed)
  }

  /// What was taken, as hardware knows it.
  func handOut(
    _ size: ByteCount, at index: GranuleIndex, of chunk: ChunkReference, zeroed: Bool
  ) -> DMAAllocation {
    let start = chunk.pointee.address(of: index)
    let offset = chunk.pointee.offset(of: start)
    if zeroed { gp_zero(start.rawValue, size.rawValue) }
    return DMAAllocation(
      allocation: Allocation(start: start, size: size, owner: chunk.pointee.owner),
      physical: chunk.pointee.physical.map { $0 + offset },
      bus: chunk.pointee.bus.map { $0 + offset })
  }

  /// The one real allocator.
  @inline(__always)
  private func take(
    _ size: ByteCount, fit: Fit?, busAlignment: ByteCount?, mustBeMapped: Bool = false
  ) throws(PoolError) -> (ChunkReference, GranuleIndex) {
    guard size > .zero else { throw .emptyRequest }
    guard !forkGuard.isForked else { throw .forked }
    if let refusal = fit?.refusal { throw refusal }
    let request = request(size, fit: fit)
    var next = list.newest
    while let chunk = next {
      if chunk.pointee.mayServe(request),
        let index = try take(
          request.count, from: chunk, fit: fit, busAlignment: busAlignment,
          mustBeMapped: mustBeMapped)
      {
        return (chunk, index)
      }
      next = chunk.pointee.next
    }
    throw failure(size, fit: fit)
  }

  /// What is asked of each chunk.
  @inline(__always)
  func request(_ size: ByteCount, fit: Fit?) -> ChunkRequest {
    let count = granule.granules(holding: size)
    let needsRun = (fit?.kind ?? fitKind.load(ordering: .relaxed)) != .anywhere
    return ChunkRequest(size: size, count: count, run: needsRun ? count : GranuleCount(0))
  }

  /// Takes `count` granules from a chunk that may serve; nil when it has no place.
  @inline(__always)
  func take(
    _ count: GranuleCount, from chunk: ChunkReference, fit given: Fit?,
    within window: ChunkWindow? = nil,
    busAlignment: ByteCount?, mustBeMapped: Bool
  ) throws(PoolError) -> GranuleIndex? {
    var warning: PoolWarning?
    let index = try chunk.pointee.state.withLock { (state) throws(PoolError) -> GranuleIndex? in
      guard chunk.pointee.isOpen else { return nil }
      // Most calls: nothing can be wrong with what is found, and the fit needs no copy.
      if given == nil, case .first = state.fit, window == nil, busAlignment == nil, !mustBeMapped {
        return chunk.pointee.allocateFirstFit(count, in: &state)
      }
      guard
        let first = try place(
          count, fit: given, within: window, in: &state, of: chunk, warning: &warning)
      else {
        return nil
      }
      if mustBeMapped, !chunk.pointee.isMapped {
        throw .notMapped(chunk.pointee.address(of: first))
      }
      if let busAlignment, let bus = chunk.pointee.bus {
        let address = bus + chunk.pointee.offset(of: chunk.pointee.address(of: first))
        guard address.isAligned(to: busAlignment) else {
          throw .busMisaligned(bus: address, alignment: busAlignment)
        }
      }
      chunk.pointee.allocate(GranuleRun(first: first, count: count), in: &state)
      return first
    }
    if let warning { warn?(warning) }
    return index
  }

  /// Where `count` granules go in the chunk, its lock held. Own algorithms are not believed.
  @inline(never)
  private func place(
    _ count: GranuleCount, fit given: Fit?, within window: ChunkWindow?,
    in state: inout ChunkStorage.State, of chunk: ChunkReference, warning: inout PoolWarning?
  ) throws(PoolError) -> GranuleIndex? {
    let fit = given ?? state.fit
    if case .fixed(let offset) = fit, !offset.isMultiple(of: granule.byteCount) {
      warning = .offsetInsideGranule(offset: offset, chunk: chunk.pointee.start)
      return nil
    }
    let request = Fit.Request(
      start: .zero, count: count, chunkStart: chunk.pointee.start, granule: granule)
    if case .custom = fit {
      let first = try place(request, in: state.index.bitmap, ownFit: fit)
      return first.flatMap { first in
        window?.admits(GranuleRun(first: first, count: count)) ?? true ? first : nil
      }
    }
    guard let window else { return fit.place(request, in: &state.index) }
    return fit.place(request, in: &state.index, within: window)
  }

  private func place(
    _ first: Fit.Request, in bitmap: borrowing GranuleBitmap, ownFit fit: Fit
  ) throws(PoolError) -> GranuleIndex? {
    var request = first
    guard var index = fit.place(request, in: bitmap) else { return nil }
    let limit = bitmap.count.rawValue
    let count = request.count
    var mayAskAgain = true
    while index.rawValue < limit {
      guard index.rawValue >= 0, count.rawValue <= limit - index.rawValue else {
        throw .fitOutOfRange(index)
      }
      let end = index.rawValue + count.rawValue
      if bitmap.nextAllocated(from: index.rawValue, limit: end) == end { return index }
      // As the kernel after a lost race: asked again from the answer on, if that leads anywhere.
      guard mayAskAgain || index > request.start else { throw .fitNotFree(index) }
      mayAskAgain = false
      request = Fit.Request(
        start: index, count: count, chunkStart: request.chunkStart, granule: granule)
      guard let again = fit.place(request, in: bitmap) else { return nil }
      index = again
    }
    return nil
  }

  // MARK: Looking into chunks

  /// Runs `body` on the chunk's bitmap with its lock held, or without in a forked child: there the
  /// thread that held it may not exist, and nothing can change.
  func withBitmap<Result>(
    of chunk: ChunkReference, _ body: (borrowing GranuleBitmap) -> Result
  ) -> Result {
    withState(of: chunk) { body($0.index.bitmap) }
  }

  /// The same with all that changes in the chunk.
  func withState<Result>(
    of chunk: ChunkReference, _ body: (borrowing ChunkStorage.State) -> Result
  ) -> Result {
    if forkGuard.isForked { return body(chunk.pointee.state.value) }
    return chunk.pointee.state.withLock { body($0) }
  }
}
