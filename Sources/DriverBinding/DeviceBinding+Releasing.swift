public import PCIDevices

/// Taking a driver away, for use through sysfs, which no driver has a part in.
extension DeviceBinding {
  /// The `driver_override` of a device that was released: a name that no driver has, so that none
  /// binds when its module is loaded. driverctl(8) writes the same for no driver.
  static let releasedOverride = "none"

  /// The plan that takes the device at `address` from its driver and leaves it without one, so that
  /// its memory can be attached through sysfs. ``plan(unbinding:isWholeGroup:)`` is the way back.
  ///
  /// The refusals are those of ``plan(binding:to:isWholeGroup:forced:)`` but for a driver's. A
  /// device without a driver is left as it is. O(members of the IOMMU group).
  /// - Parameters:
  ///   - isWholeGroup: whether the other members of its IOMMU group that are in the way are
  ///     released too.
  ///   - forced: the device's ids, typed again: it is released although it is in use, or of a kind
  ///     that should keep its driver. The other members are not.
  /// - Throws: ``DeviceError`` when the device is not there or cannot be read.
  public func plan(
    releasing address: PCIAddress, isWholeGroup: Bool = false, forced: DeviceIdentity? = nil
  ) throws(DeviceError) -> BindingPlan {
    let device = try tree.device(at: address)
    return try plan(
      moving: device, to: nil, isWholeGroup: isWholeGroup, forced: forced, refusals: [],
      blockers: device.iommuGroup?.members.filter(isInTheWayOfSysfs) ?? [])
  }

  /// Whether the member's driver does DMA of its own, which the device could be the target of.
  private func isInTheWayOfSysfs(_ member: IOMMUGroup.Member) -> Bool {
    guard let driver = member.driver, !AttachRule.passiveDrivers.contains(driver),
      !driver.contains("vfio")
    else { return false }
    return !(driver == "pcieport" && member.classCode?.isBridge == true)
  }

  // MARK: Steps

  /// Leaves `device` without a driver, whatever its group's other members get.
  func steps(releasing device: Device) -> [BindingPlan.Step] {
    [
      .remember(device.address, state(of: device)),
      .write(
        device.address, text: Self.releasedOverride, file: override(of: device.address)),
    ] + release(device) + [.expect(device.address, driver: nil)]
  }
}
