public import PCIDevices

/// What has happened to a PCI device. News, not state: by the time it is read the device may be gone
/// again, so look before acting.
public enum DeviceEvent: Hashable, Sendable {
  /// A device was plugged in. `udevadm trigger` says so of devices that never left, and a device that
  /// is renamed over another one replaces it: what is known already may be the same or not.
  case added(PCIAddress)
  /// A device was pulled out.
  case removed(PCIAddress)
  /// A driver was bound or unbound, or something else changed. Not told of emulated devices.
  case changed(PCIAddress)
  /// Events were lost: list the devices again and compare. Comes after all events from before the
  /// gap; what happens after it is told again.
  case overrun
}

extension PCIAddress {
  /// The address that `name`, a device's in sysfs, stands for. Nil unless it is written the kernel's
  /// way, so that one device has one name.
  init?(sysfsName name: String) {
    guard let address = PCIAddress(name), address.description == name else { return nil }
    self = address
  }
}
