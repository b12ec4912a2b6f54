import Synchronization

/// An allocator of address ranges: the kernel's `struct gen_pool`, in user space, over any one of
/// the machine's address spaces. Addresses of another space do not compile.
///
/// It is a list of chunks, newest first. Sizes are rounded up to granules; an allocation lies
/// in one chunk; the newest chunk in which the fit finds a place wins. No record of allocations
/// exists beside the bitmaps: any allocated range may be freed, in parts or across neighbours, and
/// nothing is ever read or written at the addresses themselves.
///
/// ``Pool`` is the one over the addresses of this process, which knows the memory's other addresses
/// too. A broker of device memory allocates in physical addresses, an IOMMU's in I/O virtual ones.
///
/// Every method may be called from any thread. In a forked child all that changes something throws
/// ``Failure/forked``; queries work.
public final class RangeAllocator<Space: AddressSpace>: Sendable {
  /// The smallest amount handed out.
  public let granule: GranuleSize
  /// The name, in a table of pools, or just for people.
  public let name: String?
  /// The device the memory belongs to.
  public let device: DeviceKey?
  /// The NUMA node that the memory is close to: a hint.
  public let node: NUMANode?

  /// Called for what the kernel warns of, outside of all locks.
  let warn: (@Sendable (Warning) -> Void)?
  let forkGuard = ForkGuard()

  let list = ChunkList()
  /// Held while the list or the default fit changes; not for most allocations and frees.
  let state: Locked<State>
  /// Of the default fit, as a ``PublishedFit``, and whether the allocator has ended: written under
  /// ``state``, read without.
  private let publishedFit: Atomic<UInt8>
  let isDestroyed = Atomic(false)
  /// How often an allocation failed, and why.
  let failures = FailureCounts()

  struct State: ~Copyable {
    var fit: Fit
    var books = ChunkList.Books()
    var caches = CacheBooks()
    /// The ranges of removed chunks, and the calls that succeeded in them.
    var removed = RemovedRanges()
    var removedAllocations = 0
    var removedFrees = 0

    init(fit: Fit) { self.fit = fit }
  }

  deinit { ChunkList.end(state.value.books) }

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
    node: NUMANode? = nil, warning: (@Sendable (Warning) -> Void)? = nil
  ) {
    self.granule = granule
    self.name = name
    self.device = device
    self.node = node
    warn = warning
    publishedFit = Atomic(PublishedFit(fit).rawValue)
    state = Locked(State(fit: fit))
  }

  // MARK: Chunks

  /// Adds addresses: nothing will be read or written there. The kernel's `gen_pool_add` and
  /// `gen_pool_add_owner`.
  ///
  /// - Parameters:
  ///   - start: the address of the first byte, not 0; any alignment.
  ///   - size: in bytes. Less than a granule is accepted and never handed out.
  ///   - bus: the bus address of the first byte, if it has one: ``Constraints`` are about it.
  ///   - owner: given back with each allocation from this chunk.
  ///   - traits: what ``Constraints`` ask for.
  /// - Throws: `chunkAtZero`, `chunkWraps`, `chunkOverlaps`, `noMemory`, `destroyed`, `forked`.
  /// - Complexity: O(chunks).
  public func add(
    start: Address<Space>, size: ByteCount, bus: BusAddress? = nil, owner: Owner? = nil,
    traits: ChunkTraits = ChunkTraits()
  ) throws(Failure) {
    try add(
      start: start, size: size, physical: nil, bus: bus, owner: owner, traits: traits,
      backing: nil, isMapped: false)
  }

  /// The one way in for a chunk.
  func add(
    start: Address<Space>, size: ByteCount, physical: PhysicalAddress?, bus: BusAddress?,
    owner: Owner?, traits: ChunkTraits, backing: AnyObject?, isMapped: Bool
  ) throws(Failure) {
    guard start.rawValue != 0 else { throw .chunkAtZero }
    let last = size.rawValue &- 1
    guard
      size == .zero || start.advanced(by: ByteCount(last)) != nil,
      physical == nil || size == .zero || physical?.advanced(by: ByteCount(last)) != nil,
      bus == nil || size == .zero || bus?.advanced(by: ByteCount(last)) != nil
    else { throw .chunkWraps(start, size) }
    // No bitmap is as long.
    guard let granules = Int(exactly: size.rawValue >> UInt64(granule.order)) else {
      throw .noMemory
    }
    guard !forkGuard.isForked else { throw .forked }

    try state.withLock { (state) throws(Failure) in
      try refuseIfDestroyed()
      let range = AddressRange(start: AnyAddress(start), size: size)
      if let range, let other = overlapping(range) { throw .chunkOverlaps(other) }
      let origin = start.rawValue >> UInt64(granule.order)
      guard let index = RunIndex<NativeShape>(count: GranuleCount(granules), origin: origin) else {
        throw .noMemory
      }
      let identity = ChunkStorage.Identity(
        start: AnyAddress(start), size: size, physical: physical, bus: bus, traits: traits,
        isMapped: isMapped)
      list.push(
        ChunkStorage.State(identity, owner: owner, index: index, fit: state.fit, backing: backing),
        granule: granule, &state.books)
      if let range { state.removed.remove(range) }
    }
  }

  private func overlapping(_ range: AddressRange<AnySpace>) -> Address<Space>? {
    list.first { chunk in
      let start = chunk.pointee.start
      guard let other = AddressRange(start: start, size: chunk.pointee.size) else { return nil }
      return other.overlaps(range) ? Address(start) : nil
    }
  }

  /// Ends the pool's use: its chunks let go of their memory, and everything but queries throws
  /// ``Failure/destroyed`` from now on. The kernel's `gen_pool_destroy`.
  ///
  /// A pool that is not destroyed lets go when its last reference does, allocations or not.
  /// - Throws: `outstanding` when anything is allocated; then the pool lives on. `destroyed`,
  ///   `forked`.
  /// - Complexity: O(chunks).
  public func destroy() throws(Failure) {
    guard !forkGuard.isForked else { throw .forked }
    // The backings are let go of after the locks: their ends run code of others.
    let backings = try state.withLock { (_) throws(Failure) in
      try refuseIfDestroyed()
      return try close()
    }
    withExtendedLifetime(backings) {}
  }

  /// Closes all chunks or, when anything is allocated, none.
  private func close() throws(Failure) -> [AnyObject] {
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
      let backing = chunk.pointee.state.withValue { state in
        chunk.pointee.publishAllRuns(&state)
        return state.backing.take()
      }
      if let backing { backings.append(backing) }
    }
    return backings
  }

  /// How a place is chosen from now on, unless a call says otherwise. The kernel's
  /// `gen_pool_set_algo`.
  /// - Throws: `alignmentIsZero`, `destroyed`, `forked`.
  public func setFit(_ fit: Fit) throws(Failure) {
    guard !forkGuard.isForked else { throw .forked }
    if fit.isRefused { throw .alignmentIsZero }
    try state.withLock { (state) throws(Failure) in
      try refuseIfDestroyed()
      state.fit = fit
      publishedFit.store(PublishedFit(fit).rawValue, ordering: .relaxed)
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
  /// - Throws: `full`, `fragmented`, `noAlignedRun`, `notFree`, `emptyRequest`, `alignmentIsZero`,
  ///   `fitOutOfRange`, `fitNotFree`, `destroyed`, `forked`.
  /// - Complexity: O(chunks + log granules + allocated granules / 64). The first calls by another
  ///   fit or an alignment build what it needs, a step each, and look at the words of the bitmaps
  ///   meanwhile: less than a millisecond for 16 Mi granules. An alignment that is no power of two
  ///   and own algorithms take O(words of the bitmaps) every time.
  public func allocate(_ size: ByteCount, fit: Fit? = nil) throws(Failure) -> Allocation {
    try allocateQuickly(size, fit: fit)
  }

  /// The same, for the forms that are compiled for one space.
  @inline(__always)
  func allocateQuickly(_ size: ByteCount, fit: Fit?) throws(Failure) -> Allocation {
    guard isFirst(fit) else { return try allocate(size, by: fit) }
    // Most calls, by a short way: nothing can be wrong with what the first fit finds.
    guard size > .zero else { throw .emptyRequest }
    guard !forkGuard.isForked else { throw .forked }
    if let made = list.newest?.pointee.allocateFirstFit(size) {
      return Allocation(start: Address(made.start), size: size, owner: made.owner)
    }
    return try allocateFirstFit(size)
  }

  /// The first fit in other chunks than the newest: a form of its own, because full allocators fail
  /// by this way.
  @inline(never)
  private func allocateFirstFit(_ size: ByteCount) throws(Failure) -> Allocation {
    try allocate(size, by: .first, as: .first)
  }

  /// The answer of `body` over the chunks, asked again while chunks come and go and it finds
  /// nothing.
  @inline(__always)
  func searching<Answer>(_ body: () throws(Failure) -> Answer?) throws(Failure) -> Answer? {
    while true {
      let moment = list.moment
      if let answer = try body() { return answer }
      if list.isUnchanged(since: moment) { return nil }
      waitForChange()
    }
  }

  /// The answer of `body` over the chunks at a moment at which none comes, goes or moves, unless
  /// they do all the time.
  func steadily<Answer>(_ body: () -> Answer) -> Answer {
    // Without a lock: own algorithms ask for sums while a chunk's is held. So not for ever.
    for _ in 0..<16 {
      let moment = list.moment
      let answer = body()
      if list.isUnchanged(since: moment) { return answer }
    }
    return body()
  }

  /// Returns when no change of the list is under way.
  @inline(never)
  private func waitForChange() { state.withLock { _ in } }

  @inline(never)
  private func allocate(_ size: ByteCount, by fit: Fit?) throws(Failure) -> Allocation {
    guard let indexed = indexedFit(fit) else {
      return try take(size, fit: fit, busAlignment: nil).allocation
    }
    guard size > .zero else { throw .emptyRequest }
    guard !forkGuard.isForked else { throw .forked }
    // The newest chunk is asked first anyway, and most allocators have no other.
    let moment = list.moment
    if let newest = list.newest {
      if let made = newest.pointee.allocate(request(size, fit: indexed), by: indexed) {
        return Allocation(start: Address(made.start), size: size, owner: made.owner)
      }
      if list.isSingle, list.isUnchanged(since: moment) { throw failure(size, fit: fit) }
    }
    return try allocate(size, by: indexed, as: fit)
  }

  /// By a fit whose places the index finds; `fit` is that one for people.
  @inline(__always)
  private func allocate(
    _ size: ByteCount, by indexed: IndexedFit, as fit: Fit?
  ) throws(Failure) -> Allocation {
    let request = request(size, fit: indexed)
    let made = try searching { () throws(Failure) in
      list.first(serving: request) { $0.pointee.allocate(request, by: indexed) }
    }
    guard let made else { throw failure(size, fit: fit) }
    return Allocation(start: Address(made.start), size: size, owner: made.owner)
  }

  /// The one real allocator.
  @inline(__always)
  func take(
    _ size: ByteCount, fit: Fit?, busAlignment: ByteCount?, mustBeMapped: Bool = false
  ) throws(Failure) -> Taken {
    guard size > .zero else { throw .emptyRequest }
    guard !forkGuard.isForked else { throw .forked }
    if fit?.isRefused == true { throw .alignmentIsZero }
    let request = request(size, fit: fit)
    let taken = try searching { () throws(Failure) in
      try list.first(serving: request) { (chunk) throws(Failure) in
        guard chunk.pointee.mayServe(request) else { return nil as Taken? }
        return try take(
          request, from: chunk, fit: fit, busAlignment: busAlignment, mustBeMapped: mustBeMapped)
      }
    }
    guard let taken else { throw failure(size, fit: fit) }
    return taken
  }

  /// A range that was taken, with what its chunk knows of it.
  struct Taken {
    let allocation: Allocation
    let physical: PhysicalAddress?
    let bus: BusAddress?
  }

  /// What is asked of each chunk.
  @inline(__always)
  func request(_ size: ByteCount, fit given: Fit?) -> ChunkRequest {
    let count = granule.granules(holding: size)
    if let indexed = indexedFit(given) { return request(size, fit: indexed) }
    return ChunkRequest(
      size: size, count: count, run: needsRun(given) ? count : GranuleCount(0), order: 0,
      fromChunkStart: false)
  }

  /// The same by a fit whose places the index finds.
  @inline(__always)
  func request(_ size: ByteCount, fit: IndexedFit) -> ChunkRequest {
    let count = granule.granules(holding: size)
    let alignment = fit.alignment(of: count, granule)
    let run = if case .fixed = fit { GranuleCount(0) } else { count }
    return ChunkRequest(
      size: size, count: count, run: run, order: alignment?.order ?? 0,
      fromChunkStart: alignment?.fromChunkStart ?? false)
  }

  /// A fit, the allocator's own when nil, for the index; nil when that does not find its places.
  @inline(__always)
  func indexedFit(_ fit: Fit?) -> IndexedFit? {
    switch fit {
    case .some(let fit): fit.indexed(in: granule)
    case nil: defaultFit.indexed
    }
  }

  /// Whether a fit, the allocator's own when nil, is the first fit.
  @inline(__always)
  func isFirst(_ fit: Fit?) -> Bool { fit?.isFirst ?? defaultFit.isFirst }

  /// Whether a fit, the allocator's own when nil, needs a free run as long as the request.
  @inline(__always)
  func needsRun(_ fit: Fit?) -> Bool { fit?.needsRun ?? defaultFit.needsRun }

  @inline(__always)
  private var defaultFit: PublishedFit {
    PublishedFit(rawValue: publishedFit.load(ordering: .relaxed))
  }

  /// Takes what is requested from a chunk that may serve; nil when it has no place.
  @inline(__always)
  func take(
    _ request: ChunkRequest, from chunk: ChunkReference, fit given: Fit?,
    within window: ChunkWindow? = nil, ofLife life: UInt32? = nil,
    busAlignment: ByteCount?, mustBeMapped: Bool
  ) throws(Failure) -> Taken? {
    let count = request.count
    var warning: Warning?
    let taken = try chunk.pointee.state.withLock { (state) throws(Failure) -> Taken? in
      guard chunk.pointee.isOpen else { return nil }
      // The window was found out without the lock, maybe of the chunk that was here before.
      if let life, chunk.pointee.life.load(ordering: .relaxed) != life { return nil }
      // Most calls: nothing can be wrong with what is found, and the fit needs no copy.
      if given == nil, case .first = state.fit, window == nil, busAlignment == nil, !mustBeMapped {
        return chunk.pointee.allocateFirstFit(count, in: &state).map { first in
          handOut(request.size, at: first, of: chunk, state)
        }
      }
      guard
        let first = try place(
          count, fit: given, within: window, in: &state, of: chunk, warning: &warning)
      else {
        // The search may have found out what there is not.
        chunk.pointee.publishRuns(&state)
        return nil
      }
      let taken = handOut(request.size, at: first, of: chunk, state)
      chunk.pointee.publishRuns(&state)
      if mustBeMapped, !state.identity.isMapped { throw .notMapped(taken.allocation.start) }
      if let busAlignment, let bus = taken.bus, !bus.isAligned(to: busAlignment) {
        throw .busMisaligned(bus: bus, alignment: busAlignment)
      }
      chunk.pointee.allocate(GranuleRun(first: first, count: count), in: &state)
      return taken
    }
    if let warning { warn?(warning) }
    return taken
  }

  /// `size` bytes from a granule on, with what the chunk knows of them. Its lock is held.
  @inline(__always)
  private func handOut(
    _ size: ByteCount, at first: GranuleIndex, of chunk: ChunkReference,
    _ state: borrowing ChunkStorage.State
  ) -> Taken {
    let offset = granule.bytes(GranuleCount(first.rawValue))
    return Taken(
      allocation: Allocation(
        start: Address(chunk.pointee.address(of: first)), size: size, owner: state.owner),
      physical: state.identity.physical.map { $0 + offset },
      bus: state.identity.bus.map { $0 + offset })
  }

  /// Where `count` granules go in the chunk, its lock held. Own algorithms are not believed.
  @inline(never)
  func place(
    _ count: GranuleCount, fit given: Fit?, within window: ChunkWindow?,
    in state: inout ChunkStorage.State, of chunk: ChunkReference,
    warning: inout Warning?
  ) throws(Failure) -> GranuleIndex? {
    let fit = given ?? state.fit
    if case .fixed(let offset) = fit, !offset.isMultiple(of: granule.byteCount) {
      warning = .offsetInsideGranule(offset: offset, chunk: Address(chunk.pointee.start))
      return nil
    }
    let request = Fit.Request(
      start: .zero, count: count, chunkStart: ByteCount(chunk.pointee.start.rawValue),
      granule: granule)
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
  ) throws(Failure) -> GranuleIndex? {
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

  /// Runs `body` on what changes in the allocator, likewise.
  func withState<Result>(_ body: (borrowing State) -> Result) -> Result {
    if forkGuard.isForked { return body(state.value) }
    return state.withLock { body($0) }
  }

  /// The same with all that changes in the chunk.
  func withState<Result>(
    of chunk: ChunkReference, _ body: (borrowing ChunkStorage.State) -> Result
  ) -> Result {
    if forkGuard.isForked { return body(chunk.pointee.state.value) }
    return chunk.pointee.state.withLock { body($0) }
  }
}
