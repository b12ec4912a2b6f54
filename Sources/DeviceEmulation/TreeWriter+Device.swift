import GenPool
import PCIDevices

extension TreeWriter {
  /// Fills this directory, a device's own, with its files.
  /// - Parameter map: where places for the BARs come from.
  func write(_ device: EmulatedDevice, map: inout AddressMap) throws(EmulationError) {
    var bus: [BAR.Index: BusAddress] = [:]
    var rows = [String](repeating: Self.row(0, 0, 0), count: Self.rowCount)
    for bar in device.bars {
      rows[bar.index.rawValue] = try row(bar, of: device, map: &map, bus: &bus)
      try write(bar)
    }
    try attribute("resource", rows.joined(separator: "\n"))
    try file("config", EmulatedConfigSpace(of: device, bus: bus).bytes, mode: 0o644)

    try attribute("vendor", "0x" + hexadecimal(UInt64(device.identity.vendor), digits: 4))
    try attribute("device", "0x" + hexadecimal(UInt64(device.identity.device), digits: 4))
    try attribute(
      "subsystem_vendor", "0x" + hexadecimal(UInt64(device.subsystem.vendor), digits: 4))
    try attribute(
      "subsystem_device", "0x" + hexadecimal(UInt64(device.subsystem.device), digits: 4))
    try attribute("class", device.classCode.description)
    try attribute("revision", "0x" + hexadecimal(UInt64(device.revision), digits: 2))
    try attribute("numa_node", device.numaNode.map { "\($0.rawValue)" } ?? "-1")
    try attribute("power_state", "D0")
    try attribute("enable", "0", mode: 0o644)
    // How the kernel prints no override.
    try attribute("driver_override", "(null)", mode: 0o644)
    if let isRemovable = device.isRemovable {
      try attribute("removable", isRemovable ? "removable" : "fixed")
    }
    if let driver = device.driver {
      try attribute(EmulatedTree.ownDriver, driver)
    }
    // Links lead nowhere until the directory is at its place, two levels below `devices`.
    if let driver = device.driver { try link("driver", to: "../../../bus/pci/drivers/\(driver)") }
    if let group = device.iommuGroup {
      try link("iommu_group", to: "../../../kernel/iommu_groups/\(group)")
    }
  }

  /// The BAR's file, and a second name for it where the kernel would have a write-combining one.
  private func write(_ bar: EmulatedBAR) throws(EmulationError) {
    let name = "resource\(bar.index)"
    try file(name, bar.contents, size: bar.size, mode: 0o600)
    if bar.kind == .memory && bar.isPrefetchable { try hardLink(name + "_wc", to: name) }
  }

  /// The rows of `resource` on kernels without SR-IOV: six BARs and the expansion ROM.
  private static let rowCount = 7

  /// The BAR's row, once it has a place.
  private func row(
    _ bar: EmulatedBAR, of device: EmulatedDevice, map: inout AddressMap,
    bus: inout [BAR.Index: BusAddress]
  ) throws(EmulationError) -> String {
    let last = bar.size.rawValue - 1
    guard bar.isAssigned else { return Self.row(0, last, bar.resourceFlags) }
    guard bar.kind == .memory else {
      // Nothing is ever behind a port here, so all devices may have the same.
      bus[bar.index] = BusAddress(Self.firstPort)
      return Self.row(Self.firstPort, Self.firstPort + last, bar.resourceFlags)
    }
    guard let range = map.place(bar.size, is64Bit: bar.is64Bit) else {
      throw .invalid(
        subject: "BAR \(bar.index) of \(bar.size)", problem: "no room in the host bridge's window")
    }
    let offset = bar.is64Bit ? device.busOffset : .none
    guard let start = offset.bus(of: range.first), AddressRange(start: start, size: bar.size) != nil
    else {
      throw .invalid(
        subject: "BAR \(bar.index) at \(range)",
        problem: "a bus offset of \(offset) puts it outside of the bus")
    }
    bus[bar.index] = start
    return Self.row(range.first.rawValue, range.last.rawValue, bar.resourceFlags)
  }

  /// Behind the legacy ports.
  private static let firstPort: UInt64 = 0x1000

  /// As the kernel's resource_show prints.
  private static func row(_ start: UInt64, _ end: UInt64, _ flags: UInt64) -> String {
    [start, end, flags].map { "0x" + hexadecimal($0, digits: 16) }.joined(separator: " ")
  }
}
