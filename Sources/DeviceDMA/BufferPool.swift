public import DeviceMemory
public import GenPool
public import LinuxSystem
public import PCIDevices
public import SystemPackage

/// A pool of memory that devices are told of: the regions behind it, to touch what was allocated,
/// and what their owners can keep there.
///
/// The ``GenPool/Pool`` inside is the general one and knows nothing of devices; that a controller
/// cannot have its completion queues in its own buffer is known here. Safe to use from many
/// threads.
public final class BufferPool: Sendable {
  /// Where allocations come from. What is allocated here directly can be freed here, too.
  public let pool: Pool
  /// What errors call it: `the controller memory buffer of 0000:01:00.0`.
  public let label: String
  /// What is behind the pool, in the order in which it is searched.
  public let memories: [Memory]

  /// A region of the pool, whatever opened it, and whose it is.
  public struct Memory: Sendable {
    /// The region.
    public let region: SharedRegion
    /// The controller whose memory it is; nil for memory that no device has opinions about.
    public let owner: PCIAddress?
    /// What the owner itself can keep in it. Other devices are not bound by it: to them it is a
    /// range on the bus.
    public let ownUses: MemoryUses

    /// A region.
    public init(_ region: SharedRegion, owner: PCIAddress? = nil, ownUses: MemoryUses = .all) {
      self.region = region
      self.owner = owner
      self.ownUses = ownUses
    }
  }

  /// Maps and pools `range`, which is nobody's or whose owner can keep anything in it.
  public convenience init(
    mapping range: consuming DeviceRange, granule: GranuleSize = .page, owner: PCIAddress? = nil
  ) throws(BufferPoolError) {
    let label = range.label
    let region: Region
    do throws(SystemError) {
      region = try Region(mapping: range)
    } catch {
      throw .system(error)
    }
    try self.init([Memory(SharedRegion(region), owner: owner)], label: label, granule: granule)
  }

  /// Pools regions of any sources, which do not overlap.
  public init(
    _ memories: [Memory], label: String, granule: GranuleSize = .page
  ) throws(BufferPoolError) {
    pool = Pool(granule: granule, name: label)
    self.memories = memories
    self.label = label
    do throws(PoolError) {
      // The pool searches its newest chunk first; the first region comes first.
      for memory in memories.reversed() {
        let traits = ChunkTraits(
          device: memory.owner.map(DeviceKey.init), uses: ChunkUses(memory.ownUses))
        try pool.add(memory.region, traits: traits)
      }
    } catch {
      throw .pool(label, error)
    }
  }

  /// Allocates memory for `initiator` to reach.
  /// - Parameters:
  ///   - size: in bytes, at least 1.
  ///   - alignment: of the physical and the bus address.
  ///   - use: what it is for: regions whose owner cannot keep that there are passed over for it.
  ///   - initiator: the device that will be told of it.
  ///   - constraints: what else the device asks for; uses and initiator are those above.
  /// - Throws: ``BufferPoolError``. What is refused is refused before anything is allocated.
  public func allocate(
    _ size: ByteCount, alignment: ByteCount = 4096, for use: MemoryUses, by initiator: PCIAddress,
    meeting constraints: Constraints = Constraints()
  ) throws(BufferPoolError) -> DMABuffer {
    let open = uses(by: initiator)
    guard use.isSubset(of: open) else {
      throw .unsupportedUse(label, use.subtracting(open), supported: open)
    }
    var constraints = constraints
    constraints.uses = ChunkUses(use)
    constraints.initiator = DeviceKey(initiator)
    do throws(PoolError) {
      let allocation = try pool.allocateDMA(size, alignment: alignment, meeting: constraints)
      guard let buffer = buffer(allocation) else {
        throw PoolError.noSuchAddress(allocation.start)
      }
      return buffer
    } catch {
      throw .pool(label, error)
    }
  }

  /// What `initiator` can keep in some region or other.
  private func uses(by initiator: PCIAddress) -> MemoryUses {
    memories.reduce(into: []) { uses, memory in
      uses.formUnion(memory.owner == initiator ? memory.ownUses : .all)
    }
  }

  /// Gives memory back, at once: no device may still know of it.
  public func free(_ buffer: DMABuffer) throws(BufferPoolError) {
    do throws(PoolError) {
      try pool.free(buffer.allocation)
    } catch {
      throw .pool(label, error)
    }
  }

  /// What was allocated from ``pool`` itself, to be touched; nil when it was not. O(regions).
  public func buffer(_ allocation: DMAAllocation) -> DMABuffer? {
    let memory = memories.first { memory in
      let mapping = AddressRange(
        start: memory.region.region.mapping.start, size: memory.region.region.mapping.size)
      let range = AddressRange(start: allocation.start, size: allocation.size)
      guard let mapping, let range else { return false }
      return mapping.contains(range)
    }
    return memory.map { DMABuffer(allocation, in: $0.region, of: $0.owner) }
  }
}

extension DeviceKey {
  fileprivate init(_ address: PCIAddress) { self.init("\(address)") }
}

extension ChunkUses {
  fileprivate init(_ uses: MemoryUses) { self.init(rawValue: uses.rawValue) }
}

/// Why memory for DMA could not be had.
public enum BufferPoolError: ErrnoError {
  /// The pool refused.
  case pool(String, PoolError)
  /// The owner of the memory cannot keep that in it.
  case unsupportedUse(String, MemoryUses, supported: MemoryUses)
  /// The system refused to map it.
  case system(SystemError)
}

extension BufferPoolError {
  /// The errno that says the same.
  public var errno: Errno {
    switch self {
    case .pool(_, let error): error.errno
    case .unsupportedUse: .invalidArgument
    case .system(let error): error.errno
    }
  }
}

extension BufferPoolError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .pool(let label, let error): "\(label): \(error)"
    case .unsupportedUse(let label, let use, let supported):
      "allocate in \(label): its controller cannot keep \(use) there, only \(supported); "
        + "put them elsewhere"
    case .system(let error): error.description
    }
  }
}
