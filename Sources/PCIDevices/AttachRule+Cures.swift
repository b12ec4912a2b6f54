// The cures of devices that a driver has. A driver is taken away by `genpoolctl device release` and
// `device bind`, which refuse what the system needs; a raw write to sysfs would not.

extension AttachRule {
  /// Drivers that leave a device alone until a process opens it through them, or at all.
  package static let passiveDrivers: Set<String> = [
    IOMMUGroup.vfioDriver, IOMMUGroup.stubDriver, "uio_pci_generic",
  ]

  /// The driver that wakes a device for sysfs, which vfio-pci cannot do for want of an IOMMU.
  static let driverWithoutIOMMU = "uio_pci_generic"

  /// The first of `texts`: a disk may be mounted in a hundred places.
  static func list(_ texts: [String]) -> String {
    let limit = 3
    let rest = texts.count - limit
    return texts.prefix(limit).joined(separator: ", ") + (rest > 0 ? " and \(rest) more" : "")
  }

  /// Members of a group for people: `"0000:01:00.0" with driver nvme`.
  package static func describe(_ members: [IOMMUGroup.Member]) -> String {
    members.map(describe).joined(separator: ", ")
  }

  private static func describe(_ member: IOMMUGroup.Member) -> String {
    "\(quoted(member.name)) with driver \(member.driver ?? "none")"
  }
}

extension AttachRule.Subject {
  /// The uses of `device` and of its group's members, as far as a driver serves them.
  static func uses(of device: Device, under root: SysfsRoot) -> [PCIAddress: [DeviceUse]] {
    var driven = [(address: device.address, driver: device.driver)]
    for member in device.iommuGroup?.members ?? [] {
      guard let address = member.address, address != device.address else { continue }
      driven.append((address, member.driver))
    }
    var uses: [PCIAddress: [DeviceUse]] = [:]
    for (address, driver) in driven {
      guard let driver, !AttachRule.passiveDrivers.contains(driver) else { continue }
      do throws(DeviceError) {
        uses[address] = try DeviceUse.shown(of: address, under: root)
      } catch {
        // The rule refuses it anyway, for a cause that can be read.
        uses[address] = [.undecided(name: "\(address)", because: error.description)]
      }
    }
    return uses
  }

  /// `nvme0n1p1 mounted on /srv`, the uses of the device at `address`; nil when none shows.
  private func shownUses(of address: PCIAddress?) -> String? {
    let known = address.flatMap { uses[$0] } ?? []
    return known.isEmpty ? nil : AttachRule.list(known.map(\.description))
  }

  /// The uses of the device itself, before `cause`, which follows from them: `eth0 up; driver
  /// e1000e is bound to it`.
  func usesFirst(_ cause: String) -> String {
    shownUses(of: device.address).map { "\($0); \(cause)" } ?? cause
  }

  /// Members of the group with their uses: `"0000:02:00.0" with driver nvme: nvme1n1 swap`.
  func describe(_ members: [IOMMUGroup.Member]) -> String {
    members.map { member in
      AttachRule.describe([member]) + (shownUses(of: member.address).map { ": \($0)" } ?? "")
    }.joined(separator: "; ")
  }

  /// The command that takes the device, and what is in the way in its group, from their drivers;
  /// nil when a member is in the way that no command can bind. Without an IOMMU it releases the
  /// device, or binds the driver that wakes it.
  private func bindCommand(isToWake: Bool) -> String? {
    guard let group = device.iommuGroup else {
      return isToWake
        ? "genpoolctl device bind \(device.address) --driver \(AttachRule.driverWithoutIOMMU)"
        : "genpoolctl device release \(device.address)"
    }
    let command = "genpoolctl device bind \(device.address)"
    let others = group.blockers.filter { $0.address != device.address }
    guard others.allSatisfy({ $0.address != nil }) else { return nil }
    return command + (others.isEmpty ? "" : " --group")
  }

  /// The step after binding, which attaches the device.
  var attachingWhenBound: String {
    device.iommuGroup == nil ? "attach it again" : "attach it through VFIO (source=vfio)"
  }

  /// The longest part of what is asked for that shares no page with registers, in bytes of the BAR;
  /// nil when there is none.
  var partBesideRegisters: Range<UInt64>? {
    guard let part else { return nil }
    var best: Range<UInt64>?
    var start = part.lowerBound
    for block in registersInTheWay.map(\.pages) + [part.upperBound..<part.upperBound] {
      let end = min(block.lowerBound, part.upperBound)
      if end > start, end - start > best.map({ $0.upperBound - $0.lowerBound }) ?? 0 {
        best = start..<end
      }
      start = max(start, block.upperBound)
    }
    return best
  }

  /// Ends the uses of `members` first, then binds or releases the device, then `next`.
  /// - Parameter isToWake: whether the device sleeps, so that it takes a driver that wakes it.
  func bindingCure(of members: [PCIAddress], next: String, isToWake: Bool = false) -> String {
    let known = members.flatMap { uses[$0] ?? [] }
    if let root = known.first(where: \.isOfRoot) { return root.cure }
    guard let bindCommand = bindCommand(isToWake: isToWake) else {
      return "plug the device into another slot"
    }
    var ends: [String] = []
    for use in known {
      // `device bind` decides those, as root.
      if case .undecided = use { continue }
      if !ends.contains(use.cure) { ends.append(use.cure) }
    }
    return (ends.isEmpty ? "" : AttachRule.list(ends) + "; then ")
      + "\(bindCommand) (with --dry-run first), then \(next)"
  }
}
