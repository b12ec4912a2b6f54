public import DeviceMemory
public import PCIDevices

/// Opens BARs, and knows what translates the addresses of the devices that it opens:
/// ``SysfsSource``, ``VFIOSource``.
public protocol BARSource: AnyObject, Sendable {
  /// Where devices are looked up.
  var tree: DeviceTree { get }

  /// Opens a BAR or a part of it. What that changed is undone with the last range of the device.
  func open(_ request: BARRequest) throws(DeviceError) -> DeviceRange

  /// Lets a device do DMA, which takes some of its memory being open; ends with the last of it.
  ///
  /// Stop the device before that: what it was told to do it would otherwise do later, to memory
  /// that may be somebody else's by then.
  func enableBusMastering(of device: PCIAddress) throws(DeviceError)

  /// Whether the device at an address, some of whose memory is open, is the one that was opened: a
  /// mapping may lead to another one by now, whose registers are not to be touched.
  func isPresent(_ device: PCIAddress) -> Bool

  /// The device at an address as VFIO's, whose container translates what it does DMA to; nil where
  /// nothing that this process commands does.
  func vfioDevice(at address: PCIAddress) throws(DeviceError) -> VFIODevice?
}

extension SysfsSource: BARSource {
  /// None: sysfs leaves an IOMMU to the kernel.
  public func vfioDevice(at address: PCIAddress) throws(DeviceError) -> VFIODevice? { nil }
}

extension VFIOSource: BARSource {
  /// Always: VFIO lets no device go before its memory was given back.
  public func isPresent(_ device: PCIAddress) -> Bool { true }

  public func enableBusMastering(of device: PCIAddress) throws(DeviceError) {
    try self.device(at: device).setCommand(.busMaster, to: true)
  }

  public func vfioDevice(at address: PCIAddress) throws(DeviceError) -> VFIODevice? {
    try device(at: address)
  }
}
