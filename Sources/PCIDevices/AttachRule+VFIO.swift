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
      subject.device.driver == IOMMUGroup.vfioDriver
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
      guard let group = subject.device.iommuGroup else { return nil }
      let others = group.blockers.filter { $0.address != subject.device.address }
      return others.isEmpty
        ? nil : "IOMMU group \(group.number) also has \(subject.describe(others))"
    } cure: { subject in
      let others = subject.device.iommuGroup?.blockers.compactMap(\.address) ?? []
      return subject.bindingCure(
        of: others.filter { $0 != subject.device.address }, next: "attach it again")
    },
  ]
}

extension IOMMUGroup {
  /// The driver that hands PCI devices to user space.
  public static let vfioDriver = "vfio-pci"

  /// The members that keep the group from being handed to user space: with a driver that does DMA
  /// of its own. Free of that are no driver, VFIO's, the one that only occupies, and those of
  /// bridges. Linux: `driver_managed_dma`, before 5.19 `vfio_dev_viable`.
  package var blockers: [Member] {
    members.filter { member in
      guard let driver = member.driver, driver != Self.vfioDriver, driver != "pci-stub" else {
        return false
      }
      return !(driver == "pcieport" && member.classCode?.isBridge == true)
    }
  }
}
