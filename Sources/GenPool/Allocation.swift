/// What a pool handed out: a plain value, not a resource. It is given back with
/// ``Pool/free(_:)``, or piece by piece with ``Pool/free(_:size:)``.
public struct Allocation: Hashable, Sendable {
  /// The virtual address of the first byte.
  public let start: VirtualAddress
  /// The bytes asked for; the granules that hold them are the caller's too.
  public let size: ByteCount
  /// The owner of the chunk it came from.
  public let owner: Owner?

  package init(start: VirtualAddress, size: ByteCount, owner: Owner?) {
    self.start = start
    self.size = size
    self.owner = owner
  }
}

/// An allocation with the addresses that hardware knows it by.
public struct DMAAllocation: Hashable, Sendable {
  /// The memory itself.
  public let allocation: Allocation
  /// Its physical address, nil when the chunk has none.
  public let physical: PhysicalAddress?
  /// Its bus address: what a device without an IOMMU uses. Nil when the chunk has none.
  public let bus: BusAddress?

  /// The virtual address of the first byte.
  public var start: VirtualAddress { allocation.start }
  /// The bytes asked for.
  public var size: ByteCount { allocation.size }
  /// The owner of the chunk it came from.
  public var owner: Owner? { allocation.owner }
}
