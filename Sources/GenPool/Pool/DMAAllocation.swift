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
