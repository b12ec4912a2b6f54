extension AttachRule {
  /// Every rule that forbids to take `device` from its driver and give it to another one, which user
  /// space may use it through; empty when it may be.
  /// - Parameter forced: the device's ids, typed again by someone who wants all of that broken. Only a
  ///   device that does not answer, or is another one, is refused then.
  package static func refusals(
    ofBinding device: Device, under root: SysfsRoot, forced: DeviceIdentity?
  ) throws(DeviceError) -> [Refusal] {
    let subject = Subject(
      request: BARRequest(device: device.address, bar: 0, forced: forced), device: device,
      lockdown: .none)
    let always = refusals(of: subject, under: [forceMismatch, noResponse])
    guard forced == nil else { return always.map { $0.about(device) } }
    let kind = refusals(of: subject, under: deviceRules)
    let used = try refusals(ofTaking: device, under: root)
    return (kind + used).map { $0.about(device) }
  }

  /// What of the running system forbids to take `device` from its driver, whoever gets it.
  package static func refusals(
    ofTaking device: Device, under root: SysfsRoot
  ) throws(DeviceError) -> [Refusal] {
    try DeviceUse.all(of: device.address, under: root).map { use in
      Refusal(rule: "in-use", subject: "\(device.address)", cause: "\(use)", cure: use.cure)
    }
  }
}

extension AttachRule.Refusal {
  /// The same of the device as a whole, with the way to force it.
  fileprivate func about(_ device: Device) -> Self {
    let canBeForced = rule != "no-response" && rule != "force-mismatch"
    return Self(
      rule: rule, subject: "\(device.address)", cause: cause,
      cure: cure + (canBeForced ? ", or force it: --force \(device.identity)" : ""))
  }
}
