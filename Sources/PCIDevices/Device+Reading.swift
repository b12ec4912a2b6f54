import GenPool
import SystemPackage

extension Device {
  /// Reads the directory of the device at `address`. Costs about 20 small files.
  /// - Throws: the first thing that is missing or not as documented in sysfs-bus-pci.
  init(
    at address: PCIAddress, _ node: SysfsNode, slots: [HotplugSlot],
    groups: IOMMUGroupReadings
  ) throws(DeviceError) {
    self.address = address
    path = FilePath(node.path)
    identity = try Self.identity(node["vendor"], node["device"])
    subsystem = try Self.identity(node["subsystem_vendor"], node["subsystem_device"])
    revision = try node["revision"].attribute().byte()
    classCode = try node["class"].attribute().classCode()
    isVirtualFunction = try node["physfn"].exists()

    let config = try Self.config(node["config"])
    command = config.command
    isResponding =
      isVirtualFunction ? !config.isAllOnes : config.identity.vendor != 0xffff
    bars = try BAR.all(
      in: ResourceTable(node["resource"].attribute()), isResponding ? config : nil,
      readAt: node["config"].path
    ) { name throws(DeviceError) in try node[name].exists() }

    driver = try node["driver"].linkName()
    iommuGroup = try IOMMUGroup.at(node["iommu_group"], groups)
    numaNode = try node["numa_node"].optionalAttribute()?.numaNode()
    powerState = try node["power_state"].optionalAttribute()?.powerState()
    isBootVGA = try node["boot_vga"].optionalAttribute()?.isBootVGA() ?? false
    isRemovable = try node["removable"].optionalAttribute()?.isRemovable() ?? false
    let above = try Self.bridges(above: node)
    hotplugSlot =
      slots.first { slot in slot.contains(address) || above.contains(where: slot.contains) }?
      .name
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
    guard let target = try node.linkTarget() else { return [] }
    return target.removingLastComponent().components.compactMap { PCIAddress($0.string) }
  }
}
