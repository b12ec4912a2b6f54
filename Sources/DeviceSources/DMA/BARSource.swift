public import DeviceMemory
public import PCIDevices

/// Whoever opens BARs, and knows by which addresses the devices that it opens do DMA: ``SysfsSource``,
/// ``VFIOSource``.
public protocol BARSource: AnyObject, Sendable {
  /// Where devices are looked up.
  var tree: DeviceTree { get }

  /// Opens a BAR or a part of it. What that changed is undone with the last range of the device.
  func open(_ request: BARRequest) throws(AttachError) -> DeviceRange

  /// Lets a device do DMA, which takes some of its memory being open; ends with the last of it.
  ///
  /// Stop the device before that: what it was told to do it would otherwise do later, to memory that
  /// may be somebody else's by then.
  func enableBusMastering(of device: PCIAddress) throws(AttachError)

  /// Whether the device at an address, some of whose memory is open, is the one that was opened: a mapping
  /// may lead to another one by now, whose registers are not to be touched.
  func isPresent(_ device: PCIAddress) -> Bool

  /// A device as one that does DMA.
  func initiator(at device: PCIAddress) throws(DMAError) -> Initiator
}

extension SysfsSource: BARSource {
  public func initiator(at device: PCIAddress) throws(DMAError) -> Initiator {
    try Initiator(device, in: tree)
  }
}

extension VFIOSource: BARSource {
  /// Always: VFIO lets no device go before its memory was given back.
  public func isPresent(_ device: PCIAddress) -> Bool { true }

  public func enableBusMastering(of device: PCIAddress) throws(AttachError) {
    try self.device(at: device).setCommand(.busMaster, to: true)
  }

  public func initiator(at device: PCIAddress) throws(DMAError) -> Initiator {
    do throws(AttachError) {
      return Initiator(try self.device(at: device))
    } catch {
      throw .unreachable(subject: "memory", initiator: "\(device)", cause: error.description)
    }
  }
}
