import GenPool

extension AttachRule {
  /// The rules for opening memory through VFIO. Those about drivers are other ones than sysfs has:
  /// a driver must be there, and be vfio-pci. It wakes the device up, it is mapped even when the
  /// kernel is locked down, and pulling it out is safe: removal waits.
  public static let vfio: [AttachRule] = vfioDevice + barRules

  /// Those of them that are about the device, not about a BAR of it.
  package static let vfioDevice: [AttachRule] = deviceRules + ownerRules

  /// Who has a hand on it.
  private static let ownerRules: [AttachRule] = [
    AttachRule("no-iommu-group") { subject in
      subject.device.iommuGroup == nil
        ? "it is in no IOMMU group: the machine has no IOMMU, or it is off" : nil
    } cure: { _ in
      "enable it in the firmware and boot with intel_iommu=on or amd_iommu=on, or attach it through sysfs"
    },
    AttachRule("not-vfio-pci") { subject in
      subject.device.isVFIOs
        ? nil
        : subject.usesFirst(
          "driver \(subject.device.driver ?? "none") is bound to it, not vfio-pci")
    } cure: { subject in
      // Without an IOMMU group binding it would be refused: the memory is there through sysfs.
      if subject.device.iommuGroup == nil, subject.device.driver == nil {
        return "attach it through sysfs (source=sysfs)"
      }
      return subject.bindingCure(
        of: [subject.device.address],
        next: subject.device.iommuGroup == nil
          ? "attach it through sysfs (source=sysfs)" : "attach it again")
    },
    forceMismatch,
    AttachRule("group-not-viable") { subject in
      if let unknown = subject.unknownGroup { return unknown }
      guard let group = subject.device.iommuGroup else { return nil }
      let others = group.blockers.filter { $0.address != subject.device.address }
      return others.isEmpty
        ? nil : "IOMMU group \(group.number) also has \(subject.describe(others))"
    } cure: { subject in
      guard subject.unknownGroup == nil else { return "look at it on the machine it is of" }
      let others = subject.device.iommuGroup?.blockers.compactMap(\.address) ?? []
      return subject.bindingCure(
        of: others.filter { $0 != subject.device.address }, next: "attach it again")
    },
  ]
}

extension AttachRule.Subject {
  /// The refusal's cause while the other members of the device's group are not known; else nil.
  var unknownGroup: String? {
    guard let group = device.iommuGroup,
      !group.members.contains(where: { $0.address == device.address })
    else { return nil }
    return "the members of IOMMU group \(group.number) cannot be read"
  }
}

extension Device {
  /// Whether user space gets it through VFIO: bound to vfio-pci or a variant of it.
  package var isVFIOs: Bool { IOMMUGroup.isVFIOs(driver, usesVFIO) }
}

extension IOMMUGroup {
  /// The driver that hands any PCI device to user space.
  public static let vfioDriver = "vfio-pci"

  /// The driver that only occupies a device.
  static let stubDriver = "pci-stub"

  /// The members that keep the group from being handed to user space: with a driver that does DMA
  /// of its own.
  package var blockers: [Member] { members.filter(\.isBlocker) }

  /// Whether a driver is one of VFIO's. Before Linux 6.2, which has `vfio-dev`, the names of the
  /// variant drivers tell: the kernel's all end so.
  fileprivate static func isVFIOs(_ driver: String?, _ usesVFIO: Bool) -> Bool {
    guard let driver else { return false }
    return usesVFIO || driver == vfioDriver || driver.hasSuffix("_vfio_pci")
      || driver.hasSuffix("-vfio-pci")
  }
}

extension IOMMUGroup.Member {
  /// Whether its driver does DMA of its own. Free of that are no driver, VFIO's, the one that only
  /// occupies, and those of bridges. Linux: `driver_managed_dma`, before 5.19 `vfio_dev_viable`.
  var isBlocker: Bool {
    guard let driver, driver != IOMMUGroup.stubDriver, !IOMMUGroup.isVFIOs(driver, usesVFIO)
    else { return false }
    return !(driver == "pcieport" && classCode?.isBridge == true)
  }
}
