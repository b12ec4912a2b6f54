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

  /// A device as one that does DMA.
  func initiator(at device: PCIAddress) throws(DMAError) -> Initiator
}

extension SysfsSource: BARSource {
  public func initiator(at device: PCIAddress) throws(DMAError) -> Initiator {
    try Initiator(device, in: tree)
  }
}

extension VFIOSource: BARSource {
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
