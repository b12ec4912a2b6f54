public import PCIDevices
import SystemPackage

/// Drivers of an emulated tree: the kernel's part of binding and unbinding, done by the process
/// that has written to a file of the tree. A write by any other process, such as a shell's `echo`,
/// changes that file alone.
extension EmulatedTree {
  /// Does what the kernel does when `text` is written to `file`, a path below the root:
  /// `driver/unbind` of a device, `bind` and `unbind` of a driver's directory, and `drivers_probe`,
  /// which binds the driver that `driver_override` names, else the one that the device was made
  /// with. Nothing for all other files, and for what the kernel would refuse.
  ///
  /// The driver does nothing with the device: there is no disk and no VFIO group.
  /// - Throws: when the tree's files cannot be changed.
  public func answer(_ text: String, writtenTo file: String) throws(EmulationError) {
    guard let address = PCIAddress(text), address.description == text else { return }
    let parts = file.split(separator: "/").map { String($0) }
    try alone { () throws(EmulationError) in
      let device = root["bus/pci/devices"][text]
      guard (try? device.exists()) == true else { return }
      let driver = (try? device["driver"].linkTarget())?.lastComponent?.string
      switch (parts.dropLast().last, parts.last) {
      case ("driver", "unbind"):
        if parts.dropLast(2).last == text { try release(text, from: driver) }
      case (let name?, "unbind"): if name == driver { try release(text, from: driver) }
      case (let name?, "bind"): if driver == nil { try bind(text, to: name) }
      case (_, "drivers_probe"):
        guard driver == nil, let choice = choice(for: device) else { return }
        try bind(text, to: choice)
      default: return
      }
    }
  }

  /// The file in a device's directory that has the name of the driver that it was made with.
  static let ownDriver = ".genpool-driver"

  /// The driver that the kernel would try.
  private func choice(for device: SysfsNode) -> String? {
    let override = (try? device["driver_override"].attribute())?.lines.first ?? ""
    guard override.isEmpty || override == "(null)" else { return override }
    return (try? device[Self.ownDriver].optionalAttribute())?.lines.first
  }

  private func bind(_ name: String, to driver: String) throws(EmulationError) {
    let directory = root["bus/pci/drivers"][driver]
    guard (try? directory.exists()) == true else { return }
    try TreeWriter(path: directory.path).linkToDriver(name, below: hostBridge(name))
    try TreeWriter(path: root[hostBridge(name)][name].path)
      .link("driver", to: "../../../bus/pci/drivers/\(driver)")
  }

  private func release(_ name: String, from driver: String?) throws(EmulationError) {
    guard let driver else { return }
    try TreeWriter(path: root[hostBridge(name)][name].path).unlink("driver")
    try TreeWriter(path: root["bus/pci/drivers"][driver].path).unlink(name)
  }
}

extension TreeWriter {
  /// Gives the driver whose directory this is the device `name`, which is below `bridge`.
  func linkToDriver(_ name: String, below bridge: String) throws(EmulationError) {
    // A kernel's driver has them from the start; here it may be a directory that a user has made.
    for file in ["bind", "unbind"] where !has(file) { try self.file(file, [], mode: 0o644) }
    try link(name, to: "../../../../\(bridge)/\(name)")
  }
}

extension EmulationError {
  /// The same as the error of everything else that is done with devices.
  public var asDeviceError: DeviceError {
    switch self {
    case .invalid(let subject, let problem): .invalid(subject: subject, problem: problem)
    case .device(let error): error
    case .system(let error): .system(error)
    }
  }
}
