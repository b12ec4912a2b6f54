import DeviceSources
import LinuxSystem
public import PCIDevices
import SystemPackage

/// Carrying plans out.
extension DeviceBinding {
  /// A device that a plan has begun to bind.
  private struct Begun {
    let device: PCIAddress
    /// What it was.
    let before: BindingRecord
    /// Whether that was not on record.
    let isNew: Bool
  }

  /// Does what `plan` says. When binding fails half-way, every device that it got hold of is given
  /// back; what cannot be is in the error. Unbinding that fails is left where it got: the device is
  /// nobody's then, or its own driver's, and unbinding again goes on.
  /// - Throws: ``DeviceError/refused(_:_:)`` when the plan has refusals; EBUSY while a genpool process
  ///   uses a device through sysfs.
  public func carryOut(_ plan: BindingPlan) throws(DeviceError) {
    guard plan.refusals.isEmpty else { throw .refused(plan.device.address, plan.refusals) }
    var locks: [DeviceDirectory?] = []
    for device in Set(plan.steps.map(\.device)).sorted() { locks.append(try lock(device)) }
    defer { withExtendedLifetime(locks) {} }
    var begun: [Begun] = []
    do throws(DeviceError) {
      for step in plan.steps {
        if let one = try carryOut(step) { begun.append(one) }
      }
    } catch {
      throw error.leaving(undo(begun))
    }
  }

  /// Gives back what binding got hold of, the last one first.
  /// - Returns: what could not be done. Of a device that is gone nothing is left to do.
  private func undo(_ begun: [Begun]) -> [DeviceError] {
    var failures: [DeviceError] = []
    for one in begun.reversed() {
      do throws(DeviceError) {
        let steps = steps(returning: try device(at: one.device), to: one.before)
        for step in steps { try carryOut(step) }
        if one.isNew { BindingRecord.remove(of: one.device, under: tree.root) }
      } catch {
        if case .noSuchDevice = error { continue }
        failures.append(error)
      }
    }
    return failures
  }

  /// Keeps other genpool processes from the device until the result's end; nil when it has no
  /// memory, or somebody has it from vfio-pci, whom the kernel asks for it.
  private func lock(_ address: PCIAddress) throws(DeviceError) -> DeviceDirectory? {
    let device = try device(at: address)
    guard device.bars.contains(where: \.hasResourceFile) else { return nil }
    let directory = try DeviceDirectory(of: device)
    return try directory.changing { () throws(DeviceError) in
      if directory.isAlone() { return directory }
      // Whoever goes by sysfs keeps the memory, with vfio-pci bound, too: the kernel would not ask
      // him.
      let isShared = try directory.isShared()
      if !isShared && device.driver == IOMMUGroup.vfioDriver { return nil }
      throw .system(
        SystemError(
          operation: "bind", subject: "\(address)", errno: .resourceBusy,
          cause: isShared
            ? "a genpool process has memory of it open through sysfs; detach its pools first"
            : "another process is binding it"))
    }
  }

  private func device(at address: PCIAddress) throws(DeviceError) -> Device {
    return try tree.device(at: address)
  }

  @discardableResult
  private func carryOut(_ step: BindingPlan.Step) throws(DeviceError) -> Begun? {
    switch step {
    case .remember(let device, let now):
      let isNew = try now.keep(of: device, under: tree.root)
      return Begun(device: device, before: now, isNew: isNew)
    case .forget(let device): BindingRecord.remove(of: device, under: tree.root)
    case .write(_, let text, let file): try write(text, to: file)
    case .expect(let address, let driver):
      let now = try device(at: address).driver
      guard now == driver else {
        throw .system(
          SystemError(
            operation: "bind", subject: "\(address) to \(driver ?? "no driver")", errno: .ioError,
            cause:
              "the kernel has bound \(now ?? "no driver"); its log (dmesg) may say why, and an "
              + "emulated tree has no kernel"))
      }
    }
    return nil
  }

  private func write(_ text: String, to file: String) throws(DeviceError) {
    let root = tree.root.path.string
    let directory = try DeviceError.attempt("open", root, try Directory(root))
    // sysfs takes an empty line for nothing.
    try DeviceError.attempt(
      "write \(quoted(text)) to", "\(root)/\(file)",
      try directory.setAttribute(file, to: text + "\n"))
    try answer?(text, file)
  }
}
