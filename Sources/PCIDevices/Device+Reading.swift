import GenPool
import SystemPackage

extension Device {
  /// Reads the directory of the device at `address`. Costs about 20 small files.
  /// - Throws: the first thing that is missing or not as documented in sysfs-bus-pci.
  init(
    at address: PCIAddress, _ node: SysfsNode, slots: [HotplugSlot]
  ) throws(DeviceTreeError) {
    self.address = address
    path = FilePath(node.path)
    identity = try Self.identity(node["vendor"], node["device"])
    subsystem = try Self.identity(node["subsystem_vendor"], node["subsystem_device"])
    revision = UInt8(
      truncatingIfNeeded: try node["revision"].value("an 8-bit number") { parse($0, bits: 8) })
    classCode = try node["class"].value("a class code", parseClass)
    isVirtualFunction = try node["physfn"].exists()

    let config = try Self.config(node["config"])
    command = config.command
    isResponding =
      isVirtualFunction ? !config.isAllOnes : config.identity.vendor != 0xffff
    bars = try Self.bars(node, isResponding ? config : nil)

    driver = try node["driver"].linkName()
    iommuGroup = try IOMMUGroup(node["iommu_group"])
    numaNode = try Self.numaNode(node["numa_node"])
    powerState = try Self.optional(node["power_state"], "a power state", PowerState.init)
    isBootVGA =
      try Self.optional(node["boot_vga"], "0 or 1") { ["0": false, "1": true][$0] } ?? false
    isRemovable =
      try Self.optional(node["removable"], "fixed, removable or unknown") {
        ["fixed": false, "unknown": false, "removable": true][$0]
      } ?? false
    let above = try Self.bridges(above: node)
    hotplugSlot =
      slots.first { slot in slot.contains(address) || above.contains(where: slot.contains) }?
      .name
  }

  private static func identity(
    _ vendor: SysfsNode, _ device: SysfsNode
  ) throws(DeviceTreeError) -> DeviceIdentity {
    DeviceIdentity(
      vendor: try vendor.value("a 16-bit number", parseWord),
      device: try device.value("a 16-bit number", parseWord))
  }

  private static func config(_ node: SysfsNode) throws(DeviceTreeError) -> ConfigSpace {
    let bytes = try node.bytes(limit: ConfigSpace.headerLength)
    guard let config = ConfigSpace(bytes) else {
      throw node.malformed(
        "it has \(bytes.count) bytes, less than the header's \(ConfigSpace.headerLength)")
    }
    return config
  }

  /// - Parameter config: where bus addresses come from, nil when it is not to be believed.
  private static func bars(
    _ node: SysfsNode, _ config: ConfigSpace?
  ) throws(DeviceTreeError) -> [BAR] {
    let table = try ResourceTable(node["resource"])
    var bars: [BAR] = []
    for (index, row) in zip(BAR.Index.allCases, table.rows) {
      guard let row else { continue }
      bars.append(
        BAR(
          index: index, kind: row.kind, size: row.size,
          physical: row.kind == .memory ? row.range : nil,
          bus: try bus(index, row, config, node["config"]),
          isPrefetchable: row.isPrefetchable, is64Bit: row.is64Bit,
          hasResourceFile: try node["resource\(index)"].exists(),
          hasWriteCombiningFile: try node["resource\(index)_wc"].exists()))
    }
    return bars
  }

  private static func bus(
    _ index: BAR.Index, _ row: ResourceTable.Row, _ config: ConfigSpace?, _ node: SysfsNode
  ) throws(DeviceTreeError) -> BusAddress? {
    guard row.kind == .memory, row.range != nil, let register = config?[index], !register.isIO
    else { return nil }
    guard AddressRange(start: register.bus, size: row.size) != nil else {
      throw node.malformed(
        "BAR \(index) holds \(register.bus); \(row.size) from there pass the end of the bus")
    }
    return register.bus
  }

  private static func numaNode(_ node: SysfsNode) throws(DeviceTreeError) -> NUMANode? {
    let number = try optional(node, "a node's number") { text in
      Int32(text).flatMap { $0 >= -1 ? $0 : nil }
    }
    // -1 is the kernel's NUMA_NO_NODE.
    return number.flatMap { $0 < 0 ? nil : NUMANode(Int($0)) }
  }

  /// The PCI devices that the real directory lies below, that is, the bridges above the device.
  private static func bridges(above node: SysfsNode) throws(DeviceTreeError) -> [PCIAddress] {
    guard let target = try node.linkTarget() else { return [] }
    return target.removingLastComponent().components.compactMap { PCIAddress($0.string) }
  }

  private static func optional<Value>(
    _ node: SysfsNode, _ expected: String, _ parse: (String) -> Value?
  ) throws(DeviceTreeError) -> Value? {
    try node.exists() ? node.value(expected, parse) : nil
  }
}

/// The number that `0x…` stands for when it has at most so many bits.
private func parse(_ text: String, bits: UInt64) -> UInt64? {
  parseHexadecimal(text).flatMap { $0 >> bits == 0 ? $0 : nil }
}

private func parseWord(_ text: String) -> UInt16? {
  parse(text, bits: 16).map { UInt16(truncatingIfNeeded: $0) }
}

/// The class code that an attribute's text stands for.
func parseClass(_ text: String) -> ClassCode? {
  parse(text, bits: 24).map { ClassCode(UInt32(truncatingIfNeeded: $0)) }
}
