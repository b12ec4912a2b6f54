import DeviceSources
public import PCIDevices

/// The way back.
extension DeviceBinding {
  /// What it takes to give the device at `address` back to the driver that it had.
  ///
  /// Without a record of what that was, a device that is with a driver for user space goes to the
  /// one that the kernel chooses. Any other is refused (`not-bound`), as is one that the system
  /// uses (`in-use`).
  /// - Parameter isWholeGroup: whether the other members of its IOMMU group that are bound are given
  ///   back too: those that there is a record of.
  public func plan(
    unbinding address: PCIAddress, isWholeGroup: Bool = false
  ) throws(DeviceError) -> BindingPlan {
    let device = try tree.device(at: address)
    var returning = [(device: device, record: record(of: device))]
    for member in isWholeGroup ? device.iommuGroup?.members ?? [] : [] {
      guard let place = member.address, place != address else { continue }
      let other = try tree.device(at: place)
      if let record = record(of: other) { returning.append((other, record)) }
    }
    var refusals: [AttachRule.Refusal] = []
    for (device, record) in returning { refusals += try unbindingRefusals(device, record) }
    return BindingPlan(
      device: device, refusals: refusals,
      members: members(of: device, alone: .changes) { member in
        returning.contains { $0.device.address == member.address } ? .changes : .harmless
      },
      steps: returning.flatMap { steps(unbinding: $0.device, $0.record) })
  }

  /// What the device had before it was bound; nil when nobody knows.
  private func record(of device: Device) -> BindingRecord? {
    let record = BindingRecord.read(of: device.address, under: tree.root)
    // Another device may have been plugged in since.
    return record?.identity == device.identity ? record : nil
  }

  private func unbindingRefusals(
    _ device: Device, _ record: BindingRecord?
  ) throws(DeviceError) -> [AttachRule.Refusal] {
    if let record {
      // It keeps its driver, and what hangs on it stays.
      if record.driver == device.driver { return [] }
    } else if !isSetAside(device) {
      return [
        AttachRule.Refusal(
          rule: "not-bound", subject: "\(device.address)",
          cause:
            "it has driver \(device.driver ?? "none"), and nothing says that genpool took it from another",
          cure: device.driver == nil
            ? "give it to a driver: genpoolctl device bind \(device.address) --driver NAME"
            : "check the address; to take it from that driver, bind it")
      ]
    }
    return try AttachRule.refusals(ofTaking: device, under: tree.root)
  }

  /// Whether the device is where binding or attaching puts one, and no other driver has it.
  private func isSetAside(_ device: Device) -> Bool {
    if let driver = device.driver { return AttachRule.passiveDrivers.contains(driver) }
    // Half bound, or left by a process that was killed.
    let override = state(of: device).override
    return [DeviceDirectory.attachedOverride, Self.releasedOverride].contains(override)
      || AttachRule.passiveDrivers.contains(override)
  }

  // MARK: Steps

  private func steps(unbinding device: Device, _ record: BindingRecord?) -> [BindingPlan.Step] {
    if let record { return steps(returning: device, to: record) + [.forget(device.address)] }
    return [.write(device.address, text: "", file: override(of: device.address))]
      + release(device) + [probe(device.address)]
  }

  /// From what it is now to what it was. A driver that it has already is not disturbed.
  func steps(returning device: Device, to before: BindingRecord) -> [BindingPlan.Step] {
    var steps: [BindingPlan.Step] = []
    if state(of: device).override != before.override {
      steps.append(
        .write(device.address, text: before.override, file: override(of: device.address)))
    }
    guard device.driver != before.driver else { return steps }
    steps += release(device)
    // Nobody's device stays nobody's, although a driver may be waiting for it.
    if before.driver != nil { steps.append(probe(device.address)) }
    return steps + [.expect(device.address, driver: before.driver)]
  }
}
