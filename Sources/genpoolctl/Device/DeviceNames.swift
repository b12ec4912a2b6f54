import PCIDevices
import PCINames

/// What people call devices, where a database of names is installed.
struct DeviceNames: ~Copyable {
  private let names: PCINames?

  init() {
    names = PCINames()
  }

  /// Vendor and device, or as much of it as is known.
  func name(of device: Device) -> String? {
    let identity = device.identity
    return names?.name(vendor: identity.vendor, device: identity.device)
      ?? names?.name(vendor: identity.vendor)
  }

  /// What it is for.
  func className(of device: Device) -> String? {
    names?.name(class: UInt16(truncatingIfNeeded: device.classCode.rawValue >> 8))
  }
}
