public import DeviceMemory
public import GenPool
public import PCIDevices

/// A pool of memory that devices are told of: the regions behind it, to touch what was allocated, and
/// what its owner can keep there.
///
/// The ``GenPool/Pool`` inside is the general one and knows nothing of devices; that a controller cannot have its
/// completion queues in its own buffer is known here. Safe to use from many threads.
public final class BufferPool: Sendable {
  /// Where allocations come from. What is allocated here directly can be freed here, too.
  public let pool: Pool
  /// What errors call it: `the controller memory buffer of 0000:01:00.0`.
  public let label: String
  /// The controller whose memory it is; nil for memory that no device has opinions about.
  public let owner: PCIAddress?
  /// What the owner itself can keep in it. Other devices are not bound by it: to them it is a range on
  /// the bus.
  public let ownUses: MemoryUses

  /// What is behind the pool.
  public let regions: [SharedRegion]

  /// Maps and pools a controller's own memory.
  public convenience init(
    mapping opened: consuming OpenControllerMemory, granule: GranuleSize = .page
  ) throws(BufferPoolError) {
    let owner = opened.owner
    let uses = opened.memory.uses
    try self.init(
      mapping: opened.intoRange(), granule: granule, owner: owner, ownUses: uses)
  }

  /// Maps and pools `range`, which is nobody's or whose owner can keep anything in it.
  public convenience init(
    mapping range: consuming DeviceRange, granule: GranuleSize = .page, owner: PCIAddress? = nil,
    ownUses: MemoryUses = .all
  ) throws(BufferPoolError) {
    let label = range.label
    let region: Region
    do throws(SystemError) {
      region = try Region(mapping: range)
    } catch {
      throw .system(error)
    }
    try self.init(
      [SharedRegion(region)], label: label, granule: granule, owner: owner, ownUses: ownUses)
  }

  /// Pools `regions`, which do not overlap.
  public init(
    _ regions: [SharedRegion], label: String, granule: GranuleSize = .page,
    owner: PCIAddress? = nil, ownUses: MemoryUses = .all
  ) throws(BufferPoolError) {
    pool = Pool(granule: granule, name: label)
    self.regions = regions
    self.label = label
    self.owner = owner
    self.ownUses = ownUses
    do throws(PoolError) {
      // The pool searches its newest chunk first; the first region comes first.
      for region in regions.reversed() { try pool.add(region) }
    } catch {
      throw .pool(label, error)
    }
  }

  /// Allocates memory for `initiator` to reach.
  /// - Parameters:
  ///   - size: in bytes, at least 1.
  ///   - alignment: of the physical and the bus address.
  ///   - use: what it is for: the owner may not be able to keep that here.
  ///   - initiator: the device that will be told of it.
  /// - Throws: ``BufferPoolError``. What is refused is refused before anything is allocated.
  public func allocate(
    _ size: ByteCount, alignment: ByteCount = 4096, for use: MemoryUses, by initiator: PCIAddress
  ) throws(BufferPoolError) -> DMABuffer {
    if initiator == owner, !use.isSubset(of: ownUses) {
      throw .unsupportedUse(label, use.subtracting(ownUses), supported: ownUses)
    }
    do throws(PoolError) {
      let allocation = try pool.allocateDMA(size, alignment: alignment)
      guard let buffer = buffer(allocation) else {
        throw PoolError.noSuchAddress(allocation.start)
      }
      return buffer
    } catch {
      throw .pool(label, error)
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
    regions.first { shared in
      let mapping = AddressRange(
        start: shared.region.mapping.start, size: shared.region.mapping.size)
      let range = AddressRange(start: allocation.start, size: allocation.size)
      guard let mapping, let range else { return false }
      return mapping.contains(range)
    }.map { DMABuffer(allocation, in: $0, of: owner) }
  }
}

/// Why memory for DMA could not be had.
public enum BufferPoolError: Error, Sendable {
  /// The pool refused.
  case pool(String, PoolError)
  /// The owner of the memory cannot keep that in it.
  case unsupportedUse(String, MemoryUses, supported: MemoryUses)
  /// The system refused to map it.
  case system(SystemError)
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
