import GenPool
import SystemPackage

extension Device {
  /// Reads the directory of the device at `address`. Costs about 20 small files. What is missing,
  /// or not as documented in sysfs-bus-pci, is left out and told in ``problems``: recordings and
  /// odd firmware have such devices.
  /// - Throws: when not even its maker and model can be read.
  init(
    at address: PCIAddress, _ node: SysfsNode, slots: [HotplugSlot],
    _ readings: TreeReadings, under root: SysfsRoot
  ) throws(DeviceError) {
    var problems: [DeviceError] = []
    /// The result of `read`; nil with a problem where it throws.
    func attempt<Value>(_ read: () throws(DeviceError) -> Value?) -> Value? {
      do throws(DeviceError) {
        return try read()
      } catch {
        problems.append(error)
        return nil
      }
    }

    self.address = address
    path = FilePath(node.path)
    let config = attempt { () throws(DeviceError) in try Self.config(node["config"]) }
    let identity = try Self.identity(node["vendor"], node["device"])
    self.identity = identity
    // Missing on kernels before 4.10, and in what was recorded there.
    revision =
      attempt { () throws(DeviceError) in try node["revision"].optionalAttribute()?.byte() }
      ?? config?.revision
    subsystem =
      attempt { () throws(DeviceError) in
        guard try node["subsystem_vendor"].exists() else { return nil }
        return try Self.identity(node["subsystem_vendor"], node["subsystem_device"])
      } ?? config?.subsystem
    classCode =
      attempt { () throws(DeviceError) in try node["class"].attribute().classCode() }
      ?? config?.classCode ?? ClassCode(0)
    let isVirtualFunction =
      attempt { () throws(DeviceError) in try node["physfn"].exists() } ?? false
    self.isVirtualFunction = isVirtualFunction

    command = config?.command ?? []
    // Nothing says that a device whose file cannot be read does not answer.
    isResponding =
      config.map { isVirtualFunction ? !$0.isAllOnes : $0.identity.vendor != 0xffff } ?? true
    let believed = isResponding ? config : nil
    registers = attempt { () throws(DeviceError) in
      guard let believed else { return [] }
      return try Capabilities(of: believed, vendor: identity.vendor, in: node["config"])?.registers
    }
    let reading = attempt { () throws(DeviceError) in
      try BARReading(
        of: ResourceTable(node["resource"].attribute()), believed, readAt: node["config"].path,
        hasOwnRegisters: !isVirtualFunction,
        windows: { BridgeWindow.all(above: node, under: root) },
        hasFile: { name throws(DeviceError) in try node[name].exists() })
    }
    bars = reading?.bars ?? []
    problems += reading?.problems ?? []

    driver = attempt { () throws(DeviceError) in try node["driver"].linkName() }
    usesVFIO = attempt { () throws(DeviceError) in try node["vfio-dev"].exists() } ?? false
    iommuGroup = attempt { () throws(DeviceError) in
      try IOMMUGroup.at(node["iommu_group"], readings)
    }
    numaNode = attempt { () throws(DeviceError) in
      try node["numa_node"].optionalAttribute()?.numaNode()
    }
    powerState = attempt { () throws(DeviceError) in
      try node["power_state"].optionalAttribute()?.powerState()
    }
    isBootVGA =
      attempt { () throws(DeviceError) in
        try node["boot_vga"].optionalAttribute()?.isBootVGA()
      } ?? false
    isRemovable =
      attempt { () throws(DeviceError) in
        try node["removable"].optionalAttribute()?.isRemovable()
      } ?? false
    let above = attempt { () throws(DeviceError) in try Self.bridges(above: node) } ?? []
    hotplugSlot =
      slots.first { slot in slot.contains(address) || above.contains(where: slot.contains) }?
      .name
    self.problems = problems
  }

  private static func identity(
    _ vendor: SysfsNode, _ device: SysfsNode
  ) throws(DeviceError) -> DeviceIdentity {
    DeviceIdentity(
      vendor: try vendor.attribute().word(), device: try device.attribute().word())
  }

  private static func config(_ node: SysfsNode) throws(DeviceError) -> ConfigSpace {
    let bytes = try node.bytes(limit: ConfigSpace.headerLength)
    guard let config = ConfigSpace(bytes) else {
      throw node.malformed(
        "it has \(bytes.count) bytes, less than the header's \(ConfigSpace.headerLength)")
    }
    return config
  }

  /// The PCI devices that the real directory lies below, that is, the bridges above the device.
  private static func bridges(above node: SysfsNode) throws(DeviceError) -> [PCIAddress] {
    guard let target = try node.linkComponents() else { return [] }
    return target.dropLast().compactMap { PCIAddress(String($0)) }
  }
}
