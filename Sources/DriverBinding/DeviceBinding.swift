import DeviceSources
public import PCIDevices
import SystemPackage

/// Gives devices to vfio-pci, or another driver for user space, and back to their own.
///
/// By `driver_override`, which no other device is touched by, and which lasts until the device is
/// removed. What was before is remembered, so that unbinding restores it. Under an emulated root
/// plans can be made; carrying one out takes an `answer` in the place of a kernel's.
public struct DeviceBinding: Sendable {
  /// Where devices are looked up, and changed.
  public let tree: DeviceTree

  /// Does what the kernel of `tree` does when a text is written to a file, a path below the root.
  let answer: Answer?

  /// The part of a kernel: text, and file.
  public typealias Answer = @Sendable (String, String) throws(DeviceError) -> Void

  /// Changes nothing yet.
  /// - Parameter answer: called after each write, for a tree that has no kernel; nil where one
  ///   answers.
  public init(tree: DeviceTree = DeviceTree(), answer: Answer? = nil) {
    self.tree = tree
    self.answer = answer
  }

  /// What it takes to bind the device at `address` to `driver`.
  /// - Parameters:
  ///   - isWholeGroup: whether the other members of its IOMMU group that are in the way are bound too.
  ///   - forced: the device's ids, typed again: it is bound although it is in use, or of a kind that
  ///     had better not be. Not so the others.
  public func plan(
    binding address: PCIAddress, to driver: String = IOMMUGroup.vfioDriver,
    isWholeGroup: Bool = false, forced: DeviceIdentity? = nil
  ) throws(DeviceError) -> BindingPlan {
    let device = try tree.device(at: address)
    return try plan(
      moving: device, to: driver, isWholeGroup: isWholeGroup, forced: forced,
      refusals: driverRefusals(driver, for: device),
      blockers: isForUserSpace(driver) ? device.iommuGroup?.blockers ?? [] : [])
  }

  /// The plan that gives `device` to `driver`, nil for none.
  /// - Parameters:
  ///   - refusals: what keeps it from that besides its kind and its uses.
  ///   - blockers: the members of its group that must leave their drivers with it.
  func plan(
    moving device: Device, to driver: String?, isWholeGroup: Bool, forced: DeviceIdentity?,
    refusals others: [AttachRule.Refusal], blockers: [IOMMUGroup.Member]
  ) throws(DeviceError) -> BindingPlan {
    let address = device.address
    var refusals = try AttachRule.refusals(
      ofBinding: device, under: tree.root, forced: forced)
    refusals += others
    var changing = device.driver == driver ? [] : [device]
    let others = blockers.filter { $0.address != address }
    for member in others where member.driver != driver {
      guard isWholeGroup, let place = member.address else { continue }
      let other = try tree.device(at: place)
      refusals += try AttachRule.refusals(ofBinding: other, under: tree.root, forced: nil)
      changing.append(other)
    }
    let left = others.filter { member in
      member.driver != driver && !changing.contains { $0.address == member.address }
    }
    if let group = device.iommuGroup, !left.isEmpty {
      refusals.append(
        AttachRule.Refusal(
          rule: "group-not-viable", subject: "\(address)",
          cause: "IOMMU group \(group.number) also has \(AttachRule.describe(left))",
          cure: (left.contains { $0.address == nil } ? "" : "name them all with --group, or ")
            + "plug the device into another slot"))
    }
    return BindingPlan(
      device: device, refusals: refusals,
      members: members(of: device, driver: driver, changing: changing, blockers: blockers),
      steps: changing.flatMap { device in
        driver.map { steps(binding: device, to: $0) } ?? steps(releasing: device)
      })
  }

  /// Whether `driver` hands devices to user space, for which all of a group must be free: not so a
  /// driver of the kernel's own. VFIO's variants have its name in theirs (`mlx5_vfio_pci`).
  private func isForUserSpace(_ driver: String) -> Bool {
    AttachRule.passiveDrivers.contains(driver) || driver.contains("vfio")
  }

  private func driverRefusals(
    _ driver: String, for device: Device
  ) throws(DeviceError) -> [AttachRule.Refusal] {
    var refusals: [AttachRule.Refusal] = []
    let isName =
      !driver.isEmpty && driver.utf8.allSatisfy { (0x21...0x7e).contains($0) && $0 != 0x2f }
    let isKnown = isName ? try tree.root["bus/pci/drivers"][driver].exists() : false
    if !isKnown {
      refusals.append(
        AttachRule.Refusal(
          rule: "no-such-driver", subject: "\(device.address)",
          cause: "the kernel has no PCI driver \(quoted(driver))", cure: "modprobe \(driver)"))
    }
    if driver == IOMMUGroup.vfioDriver, device.iommuGroup == nil {
      refusals.append(
        AttachRule.Refusal(
          rule: "no-iommu-group", subject: "\(device.address)",
          cause: "it is in no IOMMU group, and VFIO without an IOMMU protects nobody",
          cure:
            "enable the IOMMU (intel_iommu=on, amd_iommu=on), or genpoolctl device release "
            + "\(device.address), then attach it through sysfs"))
    }
    return refusals
  }

  private func members(
    of device: Device, driver: String?, changing: [Device], blockers: [IOMMUGroup.Member]
  ) -> [BindingPlan.Member] {
    members(of: device, alone: changing.isEmpty ? .ready : .changes) { member in
      changing.contains { $0.address == member.address }
        ? .changes
        : member.driver == driver && (driver != nil || member.address == device.address)
          ? .ready : blockers.contains(member) ? .inTheWay : .harmless
    }
  }

  /// What becomes of each member of the device's group; of itself, `alone`, without one.
  func members(
    of device: Device, alone: BindingPlan.Role, role: (IOMMUGroup.Member) -> BindingPlan.Role
  ) -> [BindingPlan.Member] {
    guard let group = device.iommuGroup else {
      return [
        BindingPlan.Member(name: "\(device.address)", driver: device.driver, role: alone)
      ]
    }
    return group.members.map { member in
      BindingPlan.Member(name: member.name, driver: member.driver, role: role(member))
    }
  }

  // MARK: Steps

  private func steps(binding device: Device, to driver: String) -> [BindingPlan.Step] {
    [
      .remember(device.address, state(of: device)),
      .write(device.address, text: driver, file: override(of: device.address)),
    ] + release(device) + [
      probe(device.address), .expect(device.address, driver: driver),
    ]
  }

  /// Takes the driver that it has away.
  func release(_ device: Device) -> [BindingPlan.Step] {
    device.driver == nil
      ? []
      : [
        .write(
          device.address, text: "\(device.address)",
          file: "bus/pci/devices/\(device.address)/driver/unbind")
      ]
  }

  /// Has the kernel look for a driver.
  func probe(_ address: PCIAddress) -> BindingPlan.Step {
    .write(address, text: "\(address)", file: "bus/pci/drivers_probe")
  }

  func override(of address: PCIAddress) -> String { "bus/pci/devices/\(address)/driver_override" }

  /// What binding changes, as it is now.
  func state(of device: Device) -> BindingRecord {
    let node = SysfsNode(path: device.path.string)["driver_override"]
    let text = (try? node.attribute())?.lines.first ?? ""
    // How the kernel prints none.
    return BindingRecord(
      driver: device.driver, override: text == "(null)" ? "" : text, identity: device.identity)
  }
}
