import CGenPoolInline
import Synchronization

extension RangeAllocator {
  /// A thread's own stock of small allocations, from which they come and to which they go without
  /// the allocator's locks: at *any place*, not at the kernel's.
  ///
  /// The cache takes runs of equal objects (slabs) from the allocator by the first fit, hands the
  /// objects out and takes them back. Which address comes is not what the kernel's `gen_pool_alloc`
  /// would return: code that depends on that uses the allocator itself, and both may be used at
  /// once.
  ///
  /// - What a cache handed out is an ordinary allocation: any cache and the allocator itself may
  ///   free it, in parts too, or tag it. Its own cache does it fastest.
  /// - What a cache holds counts as allocated: ``PoolStatistics/available`` is without it,
  ///   ``PoolStatistics/cached`` says how much it is. It is at most ``limit``.
  /// - What is freed while a cache holds it is refused as `notAllocated`, by any cache and by the
  ///   allocator. Only frees of one range by several threads at the same moment are not found out,
  ///   which the allocator itself would.
  /// - ``RangeAllocator/drain(chunkAt:)`` and ``RangeAllocator/remove(chunkAt:losingAllocations:)``
  ///   are obeyed from the next call on; until then what a cache holds in such a chunk counts as
  ///   allocated there, so that removal throws `outstanding`.
  /// - ``RangeAllocator/destroy()`` throws `outstanding` as long as caches hold anything: flush or
  ///   end them first.
  ///
  /// A cache is used by one thread at a time. It keeps its allocator alive. When it ends it gives
  /// back what it holds; what is out stays allocated. The first cache with memory of a chunk takes
  /// 8 bytes for each granule that is ever in a cache.
  public final class AnyPlaceCache {
    private let allocator: RangeAllocator
    @usableFromInline let state: CacheStateReference

    /// The largest request that the cache serves, in bytes; larger ones are the allocator's.
    public let largest: ByteCount
    /// The most bytes that the cache holds.
    public let limit: ByteCount

    fileprivate init(_ allocator: RangeAllocator, largest: Int, limit: Int) throws(Failure) {
      let state = try allocator.state.withLock { (all) throws(Failure) in
        try allocator.refuseIfDestroyed()
        let state = CacheState(
          granule: allocator.granule, forkGuard: allocator.forkGuard, largest: largest,
          limit: limit, in: &all.caches)
        guard let state else { throw .noMemory }
        return CacheStateReference(state)
      }
      self.allocator = allocator
      self.state = state
      self.largest = allocator.granule.bytes(GranuleCount(largest))
      self.limit = allocator.granule.bytes(GranuleCount(limit))
    }

    deinit {
      // A child gives nothing back: it may not change the books, whose locks may be held for ever.
      guard !allocator.forkGuard.isForked else { return state.deallocate() }
      state.inside.flush()
      allocator.state.withLock { state.inside.end(in: &$0.caches) }
      state.deallocate()
    }

    /// The bytes that the cache holds: allocated from the pool, and free to be handed out. Constant
    /// time.
    public var held: ByteCount { allocator.granule.bytes(GranuleCount(state.inside.held)) }

    /// Allocates `size` bytes, rounded up to granules, at any place.
    ///
    /// The allocator serves what is larger than ``largest``, by its own fit.
    /// - Throws: `full`, `fragmented`, `emptyRequest`, `destroyed`, `forked`, and for what is
    ///   larger than ``largest`` as ``RangeAllocator/allocate(_:fit:)``. Before it throws `full` or
    ///   `fragmented` this cache gives back all that it holds; others do not.
    /// - Complexity: constant on a hit; else as ``RangeAllocator/allocate(_:fit:)``, for up to 64
    ///   objects at once.
    @inlinable
    public func allocate(_ size: ByteCount) throws(Failure) -> Allocation {
      guard let made = state.pointee.allocate(size) else { return try allocateSlowly(size) }
      return Allocation(start: Address(made.start), size: size, owner: made.owner)
    }

    /// Frees a range: an object of this cache goes back to it, anything else to the allocator.
    ///
    /// - Parameters:
    ///   - start: rounded down to its granule.
    ///   - size: rounded up to granules; 0 frees nothing.
    /// - Returns: the owner of the chunk.
    /// - Throws: as ``RangeAllocator/free(_:size:)``.
    /// - Complexity: constant, for an object of this cache while it holds less than its limit; else
    ///   as ``RangeAllocator/free(_:size:)``.
    @inlinable @discardableResult
    public func free(_ start: Address<Space>, size: ByteCount) throws(Failure) -> Owner? {
      guard let freed = state.pointee.free(AnyAddress(start), size) else {
        return try freeSlowly(start, size)
      }
      return freed.owner
    }

    /// Frees an allocation, whole: as ``free(_:size:)``.
    @inlinable @discardableResult
    public func free(_ allocation: Allocation) throws(Failure) -> Owner? {
      guard let freed = state.pointee.free(AnyAddress(allocation.start), allocation.size) else {
        return try freeSlowly(allocation.start, allocation.size)
      }
      return freed.owner
    }

    /// Gives back all that the cache holds. What is out is freed in the allocator from now on.
    /// - Throws: `forked`.
    /// - Complexity: O(slabs + runs that are given back).
    public func flush() throws(Failure) {
      guard !state.inside.isForked else { throw .forked }
      state.inside.flush()
    }

    /// Checks what must hold between any two operations, and traps with the broken rule otherwise.
    /// For tests.
    package func checkInvariants() {
      if let rule = state.inside.brokenRule { preconditionFailure(rule) }
    }

    /// The number of slabs, for tests: it does not grow by objects that others free.
    package var slabCount: Int { state.inside.slabCount }

    // MARK: Outside of the slot

    @usableFromInline @inline(never)
    func allocateSlowly(_ size: ByteCount) throws(Failure) -> Allocation {
      if let made = state.inside.allocateFromSlab(size) {
        return Allocation(start: Address(made.start), size: size, owner: made.owner)
      }
      return try allocateFromPool(size)
    }

    @inline(never)
    private func allocateFromPool(_ size: ByteCount) throws(Failure) -> Allocation {
      guard size > .zero else { throw .emptyRequest }
      guard !state.inside.isForked else { throw .forked }
      state.inside.followChanges()
      guard size <= largest else { return try allocator.allocate(size) }
      let granules = allocator.granule.granules(holding: size).rawValue
      if let made = state.pointee.allocate(size) ?? state.inside.allocateFromSlab(size) {
        return Allocation(start: Address(made.start), size: size, owner: made.owner)
      }
      var hasSlab = state.inside.useReadySlab(granules: granules)
      if !hasSlab { hasSlab = try takeSlab(granules: granules) }
      if hasSlab, let made = state.inside.allocateFromSlab(size) {
        return Allocation(start: Address(made.start), size: size, owner: made.owner)
      }
      // No place for two. For one there may be, or will be when what is held is given back.
      if let single = try takeSingle(size) { return single }
      if state.inside.held > 0 {
        state.inside.flush()
        if let single = try takeSingle(size) { return single }
      }
      return try allocator.allocate(size, fit: .first)
    }

    /// Takes a slab from the allocator, with fewer objects where memory is short, and makes it the
    /// current one; false without a place.
    private func takeSlab(granules: Int) throws(Failure) -> Bool {
      var objects = state.inside.objects(ofGranules: granules)
      while objects >= 2 {
        let size = allocator.granule.bytes(GranuleCount(granules * objects))
        let request = allocator.request(size, fit: .first)
        let slab = try allocator.searching { () throws(Failure) in
          allocator.list.first(serving: request) { chunk -> SlabReference? in
            guard chunk.pointee.mayServe(request) else { return nil }
            return chunk.pointee.takeSlab(
              chunk, granules: granules, objects: objects, slots: state.inside.slots)
          }
        }
        if let slab { return state.inside.adopt(slab) }
        objects /= 2
      }
      return false
    }

    /// An ordinary allocation by the first fit; nil without a place, which no count of failures
    /// gets to know yet.
    private func takeSingle(_ size: ByteCount) throws(Failure) -> Allocation? {
      let request = allocator.request(size, fit: .first)
      let made = try allocator.searching { () throws(Failure) in
        allocator.list.first(serving: request) { $0.pointee.allocate(request, by: .first) }
      }
      return made.map { Allocation(start: Address($0.start), size: size, owner: $0.owner) }
    }

    @usableFromInline @inline(never)
    func freeSlowly(_ start: Address<Space>, _ size: ByteCount) throws(Failure) -> Owner? {
      if let freed = state.inside.freeIntoSlab(AnyAddress(start), size) { return freed.owner }
      guard !state.inside.isForked else { throw .forked }
      state.inside.followChanges()
      if let freed = state.inside.freeWithRoom(AnyAddress(start), size) { return freed.owner }
      return try allocator.free(start, size: size)
    }
  }
}

extension RangeAllocator {
  /// A cache of small allocations for one thread: see ``AnyPlaceCache``.
  ///
  /// - Parameters:
  ///   - largest: the largest request that it serves, in bytes, rounded up to granules: 64 of them
  ///     when nil, and never more than that, nor than half of `limit`.
  ///   - limit: the most bytes that it holds: 256 granules when nil. 0 in a program with the thread
  ///     sanitizer where this module was built without it.
  /// - Throws: `noMemory`, `destroyed`, `forked`.
  /// - Complexity: O(1).
  public func cache(largest: ByteCount? = nil, limit: ByteCount? = nil) throws(Failure)
    -> AnyPlaceCache
  {
    guard !forkGuard.isForked else { throw .forked }
    // No slab passes the end of an address space: 64 objects of 64 granules.
    let most = Int(clamping: UInt64.max >> (UInt64(granule.order) + 13))
    let wantedLimit = limit.map { Int(clamping: $0.rawValue >> UInt64(granule.order)) } ?? 256
    // Caches hand memory from thread to thread without locks, which a program's sanitizer does not
    // see in a library without it: there they hold nothing, and all comes from the allocator.
    let held = gp_has_thread_sanitizer() ? 0 : min(wantedLimit, most)
    let bound = granule.bytes(GranuleCount(Slab.mostGranules))
    let wanted = largest.map { granule.granules(holding: min($0, bound)).rawValue }
    let served = min(wanted ?? Slab.mostGranules, held / 2)
    return try AnyPlaceCache(self, largest: served, limit: held)
  }
}
