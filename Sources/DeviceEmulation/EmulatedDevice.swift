public import GenPool
public import PCIDevices

/// A PCI device to be written into an ``EmulatedTree``: what it is, and where it is plugged in.
public struct EmulatedDevice: Hashable, Sendable {
  /// Who made it and which one it is.
  public var identity: DeviceIdentity
  /// Who made the board, and which board.
  public var subsystem: DeviceIdentity
  /// Its revision.
  public var revision: UInt8
  /// What it is for.
  public var classCode: ClassCode
  /// Its BARs.
  package var bars: [EmulatedBAR]
  /// Where it is plugged in; nil for the first free bus.
  public var address: PCIAddress?
  /// How the host bridge translates the addresses of its 64-bit BARs; those below 4 GiB stay.
  public var busOffset: BusOffset
  /// The driver bound to it.
  public var driver: String?
  /// The number of its IOMMU group.
  public var iommuGroup: UInt32?
  /// The NUMA node that it is near.
  public var numaNode: NUMANode?
  /// Whether the firmware says that users can pull it out; nil when it says nothing.
  public var isRemovable: Bool?

  package init(
    identity: DeviceIdentity, subsystem: DeviceIdentity, revision: UInt8 = 1,
    classCode: ClassCode, bars: [EmulatedBAR]
  ) {
    self.identity = identity
    self.subsystem = subsystem
    self.revision = revision
    self.classCode = classCode
    self.bars = bars
    address = nil
    busOffset = .none
    driver = nil
    iommuGroup = nil
    numaNode = nil
    isRemovable = nil
  }
}
