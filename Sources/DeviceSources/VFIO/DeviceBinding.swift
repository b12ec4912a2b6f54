import CDeviceSources
import DeviceMemory
import Glibc
public import PCIDevices
import SystemPackage

/// Gives devices to vfio-pci, or another driver for user space, and back to their own.
///
/// By `driver_override`, which no other device is touched by, and which lasts until the device is removed.
/// What was before is remembered, so that unbinding restores it. Under an emulated root plans can be made;
/// carrying one out ends when no kernel binds anything.
public struct DeviceBinding: Sendable {
  /// Where devices are looked up, and changed.
  public let tree: DeviceTree

  /// Changes nothing yet.
  public init(tree: DeviceTree = DeviceTree()) {
    self.tree = tree
  }

  /// What it takes to bind the device at `address` to `driver`.
  /// - Parameters:
  ///   - isWholeGroup: whether the other members of its IOMMU group that are in the way are bound too.
  ///   - forced: the device's ids, typed again: it is bound although it is in use, or of a kind that
  ///     had better not be. Not so the others.
  public func plan(
    binding address: PCIAddress, to driver: String = IOMMUGroup.vfioDriver,
    isWholeGroup: Bool = false, forced: DeviceIdentity? = nil
  ) throws(AttachError) -> BindingPlan {
    do throws(DeviceTreeError) {
      let device = try tree.device(at: address)
      var refusals = try AttachRule.refusals(
        ofBinding: device, under: tree.root, forced: forced)
      refusals += try driverRefusals(driver, for: device)
      var changing = device.driver == driver ? [] : [device]
      let others = (device.iommuGroup?.blockers ?? []).filter { $0.address != address }
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
            cure: "bind them all with --group, or plug the device into another slot"))
      }
      return BindingPlan(
        device: device, refusals: refusals,
        members: members(of: device, driver: driver, changing: changing),
        steps: changing.flatMap { steps(binding: $0, to: driver) })
    } catch {
      throw .unreadable(error)
    }
  }

  /// What it takes to give the device at `address` back to the driver it had. Without a record the kernel
  /// chooses one.
  public func plan(unbinding address: PCIAddress) throws(AttachError) -> BindingPlan {
    do throws(DeviceTreeError) {
      let device = try tree.device(at: address)
      var record = BindingRecord.read(of: address, under: tree.root)
      if record?.identity != device.identity { record = nil }
      return BindingPlan(
        device: device, refusals: [],
        members: members(of: device, driver: "", changing: [device]),
        steps: steps(unbinding: device, record))
    } catch {
      throw .unreadable(error)
    }
  }

  private func driverRefusals(
    _ driver: String, for device: Device
  ) throws(DeviceTreeError) -> [AttachRule.Refusal] {
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
          cure: "enable the IOMMU (intel_iommu=on, amd_iommu=on), or attach it through sysfs"))
    }
    return refusals
  }

  private func members(
    of device: Device, driver: String, changing: [Device]
  ) -> [BindingPlan.Member] {
    guard let group = device.iommuGroup else {
      return [
        BindingPlan.Member(
          name: "\(device.address)", driver: device.driver,
          role: changing.isEmpty ? .ready : .changes)
      ]
    }
    return group.members.map { member in
      let role: BindingPlan.Role =
        changing.contains { $0.address == member.address }
        ? .changes
        : member.driver == driver
          ? .ready : group.blockers.contains(member) ? .inTheWay : .harmless
      return BindingPlan.Member(name: member.name, driver: member.driver, role: role)
    }
  }

  // MARK: Steps

  private func steps(binding device: Device, to driver: String) -> [BindingPlan.Step] {
    let before = attribute("driver_override", of: device)
    let record = BindingRecord(
      driver: device.driver, override: before, identity: device.identity)
    var steps: [BindingPlan.Step] = [
      .write(device.address, text: driver, file: Self.override(of: device.address))
    ]
    // One who binds twice wants to get back to where he was before the first time.
    let known = BindingRecord.read(of: device.address, under: tree.root)
    if known?.identity != device.identity || before.isEmpty {
      steps.insert(.remember(device.address, record), at: 0)
    }
    return steps + release(device) + [
      .write(device.address, text: "\(device.address)", file: "bus/pci/drivers_probe"),
      .expect(device.address, driver: driver),
    ]
  }

  private func steps(unbinding device: Device, _ record: BindingRecord?) -> [BindingPlan.Step] {
    var steps: [BindingPlan.Step] = [
      .write(device.address, text: record?.override ?? "", file: Self.override(of: device.address))
    ]
    steps += release(device)
    // Nobody's device stays nobody's, although a driver may be waiting for it.
    if record == nil || record?.driver != nil {
      steps.append(
        .write(device.address, text: "\(device.address)", file: "bus/pci/drivers_probe"))
    }
    if let record {
      steps += [.expect(device.address, driver: record.driver), .forget(device.address)]
    }
    return steps
  }

  /// Takes the driver that it has away.
  private func release(_ device: Device) -> [BindingPlan.Step] {
    device.driver == nil
      ? []
      : [
        .write(
          device.address, text: "\(device.address)",
          file: "bus/pci/devices/\(device.address)/driver/unbind")
      ]
  }

  private static func override(of address: PCIAddress) -> String {
    "bus/pci/devices/\(address)/driver_override"
  }

  /// An attribute's text; empty for the kernel's `(null)` and where there is none.
  private func attribute(_ name: String, of device: Device) -> String {
    let node = SysfsNode(path: device.path.string)[name]
    let text = (try? node.attribute())?.lines.first ?? ""
    return text == "(null)" ? "" : text
  }

  // MARK: Carrying out

  /// Does what `plan` says. What was done of a plan that fails half-way is in the error's device; carrying
  /// out the plan of unbinding undoes it.
  /// - Throws: ``AttachError/refused(_:_:)`` when the plan has refusals; EBUSY while a genpool process
  ///   uses a device through sysfs.
  public func carryOut(_ plan: BindingPlan) throws(AttachError) {
    guard plan.refusals.isEmpty else { throw .refused(plan.device.address, plan.refusals) }
    var locks: [DeviceDirectory?] = []
    for device in Set(plan.steps.map(\.device)).sorted() { locks.append(try lock(device)) }
    for step in plan.steps { try carryOut(step) }
    withExtendedLifetime(locks) {}
  }

  /// Keeps other genpool processes from the device until the result's end. Not those that have it from
  /// vfio-pci: they are asked for it by the kernel.
  private func lock(_ address: PCIAddress) throws(AttachError) -> DeviceDirectory? {
    let device: Device
    do throws(DeviceTreeError) {
      device = try tree.device(at: address)
    } catch {
      throw .unreadable(error)
    }
    guard device.driver != IOMMUGroup.vfioDriver, device.bars.contains(where: \.hasResourceFile)
    else { return nil }
    let directory = try DeviceDirectory(of: device)
    guard try directory.changing({ directory.isAlone() }) else {
      throw .system(
        SystemError(
          operation: "bind", subject: "\(address)", errno: .resourceBusy,
          cause: "a genpool process has memory of it open through sysfs; detach its pools first"))
    }
    return directory
  }

  private func carryOut(_ step: BindingPlan.Step) throws(AttachError) {
    switch step {
    case .remember(let device, let record): try record.write(of: device, under: tree.root)
    case .forget(let device): BindingRecord.remove(of: device, under: tree.root)
    case .write(_, let text, let file): try write(text, to: file)
    case .expect(let device, let driver):
      let now: String?
      do throws(DeviceTreeError) {
        now = try tree.device(at: device).driver
      } catch {
        throw .unreadable(error)
      }
      guard now == driver else {
        throw .system(
          SystemError(
            operation: "bind", subject: "\(device) to \(driver ?? "no driver")", errno: .ioError,
            cause:
              "the kernel has bound \(now ?? "no driver"); its log (dmesg) may say why, and an "
              + "emulated tree has no kernel"))
      }
    }
  }

  private func write(_ text: String, to file: String) throws(AttachError) {
    let root = tree.root.path.string
    let directory = Descriptor(
      owning: try check("open", root, unsafe gs_open_directory(root)))
    // sysfs takes an empty line for nothing.
    let line = text + "\n"
    let result = unsafe gs_write_attribute(directory.rawValue, file, line, line.utf8.count)
    try check("write \(quoted(text)) to", "\(root)/\(file)", result)
  }
}
