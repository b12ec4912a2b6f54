/// A general-purpose allocator for special memory: the kernel's `struct gen_pool`, in user space.
///
/// A ``RangeAllocator`` over the addresses of this process, of which each chunk may have physical
/// and bus addresses too, so that what it hands out can be given to a device.
public typealias Pool = RangeAllocator<VirtualSpace>
/// A range that a ``Pool`` handed out.
public typealias Allocation = Pool.Allocation
/// A contiguous piece of memory in a ``Pool``, as it was when looked at.
public typealias Chunk = Pool.Chunk
/// A maximal run of free granules in a ``Pool``.
public typealias FreeRun = Pool.FreeRun
/// Allocated memory of one holder in a ``Pool``.
public typealias Holding = Pool.Holding
/// A refusal of a ``Pool``.
public typealias PoolError = Pool.Failure
/// A warning of a ``Pool``.
public typealias PoolWarning = Pool.Warning

extension Pool {
  /// Adds memory by its addresses: nothing will be read or written there. The kernel's
  /// `gen_pool_add_virt` and `gen_pool_add_owner`.
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
    start: VirtualAddress, size: ByteCount, physical: PhysicalAddress?, bus: BusAddress? = nil,
    owner: Owner? = nil, traits: ChunkTraits = ChunkTraits()
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

  /// What keeps the memory at an address of the pool where it is, as it was given with its chunk;
  /// nil when nothing does, when no chunk has it, and when the pool was destroyed. O(chunks).
  package func backing(of address: VirtualAddress) -> AnyObject? {
    withChunk(at: address) { (chunk, _) in chunk.backing } ?? nil
  }
}
