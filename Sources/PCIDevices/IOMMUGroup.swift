/// The devices that an IOMMU cannot tell apart: isolation is by group, so a driver of one member can
/// reach what another one can.
public struct IOMMUGroup: Hashable, Sendable {
  /// The kernel's number of the group.
  public let number: UInt32
  /// Every member, the device itself included, by name.
  public let members: [Member]
  /// What stands between the members and memory while the kernel drives them: `identity` passes addresses
  /// through, `DMA` and `DMA-FQ` translate. As the kernel's `type` attribute spells it; nil where there
  /// is none. VFIO translates whatever it says.
  public let domain: String?

  /// The domain that changes no address.
  package static let identityDomain = "identity"

  /// A device of the group.
  public struct Member: Hashable, Sendable {
    /// Its name on its bus; other buses than PCI have members on some machines.
    public let name: String
    /// Its address when it is a PCI device.
    public let address: PCIAddress?
    /// The driver bound to it.
    public let driver: String?
    /// Whether the driver is one of VFIO's.
    let usesVFIO: Bool
    /// The device's purpose; nil when it is not a PCI device, or when nothing says.
    public let classCode: ClassCode?
  }

  /// Reads `node`, a device's `iommu_group` link, or takes its group from `readings`; nil when
  /// there is none, as without an IOMMU.
  static func at(
    _ node: SysfsNode, _ readings: TreeReadings
  ) throws(DeviceError) -> IOMMUGroup? {
    guard let name = try node.linkName() else { return nil }
    guard let number = UInt32(name) else {
      throw node.malformed("the link leads to \(quoted(name)), which is not a group's number")
    }
    return try readings.group(number) { () throws(DeviceError) in
      try IOMMUGroup(number, node)
    }
  }

  /// Reads group `number`, whose directory is documented in sysfs-kernel-iommu_groups. O(members).
  private init(_ number: UInt32, _ node: SysfsNode) throws(DeviceError) {
    self.number = number
    domain = try node["type"].optionalAttribute()?.value("a kind of domain") { $0 }
    let devices = node["devices"]
    var members: [Member] = []
    // Of a recording the link may be all there is.
    let isThere = try devices.exists()
    for name in isThere ? try devices.entries() : [] {
      let device = devices[name]
      let address = PCIAddress(name)
      members.append(
        Member(
          name: name, address: address, driver: try device["driver"].linkName(),
          usesVFIO: try device["vfio-dev"].exists(),
          classCode: address == nil ? nil : try device["class"].attribute().classCode()))
    }
    self.members = members
  }
}
