import DeviceFixtures
import DriverBinding
import PCIDevices
import Testing

/// Taking drivers away for sysfs, and giving devices back.
@Suite struct ReleasingTests {
  private func rules(_ plan: BindingPlan) -> [String] { plan.refusals.map(\.rule) }

  private func device(_ tree: TemporaryTree) -> String { "bus/pci/devices/\(tree.address)" }

  @Test func `a device is released by override and unbind, and no probe follows`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,cmb=1M,driver=nvme")
    let plan = try binding.plan(releasing: tree.address)
    #expect(plan.refusals.isEmpty && plan.members.map(\.role) == [.changes])
    #expect(
      plan.steps == [
        .remember(
          tree.address,
          BindingRecord(
            driver: "nvme", override: "", identity: DeviceIdentity(vendor: 0x1b36, device: 0x10))),
        .write(tree.address, text: "none", file: device(tree) + "/driver_override"),
        .write(tree.address, text: "\(tree.address)", file: device(tree) + "/driver/unbind"),
        .expect(tree.address, driver: nil),
      ])
  }

  @Test func `nothing is done to a device without a driver`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,cmb=1M")
    let plan = try binding.plan(releasing: tree.address)
    #expect(plan.refusals.isEmpty && plan.steps.isEmpty)
    #expect(plan.members.map(\.role) == [.ready])
  }

  @Test func `what the system uses is refused as for binding`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,cmb=1M,driver=nvme")
    try tree.setMounted(at: "/srv")
    let plan = try binding.plan(releasing: tree.address)
    #expect(rules(plan) == ["in-use"])
    #expect(
      plan.refusals
        == (try binding.plan(binding: tree.address, to: "vfio-pci").refusals
          .filter { $0.rule == "in-use" }))
    let identity = plan.device.identity
    #expect(try binding.plan(releasing: tree.address, forced: identity).refusals.isEmpty)
    let wrong = DeviceIdentity(vendor: 1, device: 1)
    #expect(try rules(binding.plan(releasing: tree.address, forced: wrong)) == ["force-mismatch"])
    for (name, text, rule) in [("class", "0x030000\n", "display"), ("boot_vga", "1\n", "boot-vga")]
    {
      let (tree, binding) = try TemporaryTree.binding("nvme,cmb=1M,driver=nvme")
      try tree.write(name, text)
      #expect(try rules(binding.plan(releasing: tree.address)) == [rule])
    }
  }

  @Test(arguments: [
    ("nvme,group=1", false), ("nvme,group=1,driver=vfio-pci", false),
    ("nvme,group=1,driver=uio_pci_generic", false), ("nvme,group=1,driver=mlx5_vfio_pci", false),
    ("nvme,group=1,driver=nvme", true), ("nvme,group=2,driver=nvme", false),
  ])
  func `members of the group with drivers of their own are in the way`(
    other: String, isInTheWay: Bool
  ) throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,cmb=1M,driver=nvme,group=1", other)
    let alone = try binding.plan(releasing: tree.address)
    #expect(rules(alone) == (isInTheWay ? ["group-not-viable"] : []))
    let whole = try binding.plan(releasing: tree.address, isWholeGroup: true)
    #expect(whole.refusals.isEmpty)
    let left = whole.steps.compactMap { step in
      if case .expect(let device, driver: nil) = step { device } else { nil }
    }
    #expect(left == (isInTheWay ? tree.addresses : [tree.address]))
  }

  @Test(arguments: [nil, "nvme", "vfio-pci"])
  func `unbinding gives a released device back`(first: String?) throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,cmb=1M,group=1")
    let identity = try binding.tree.device(at: tree.address).identity
    // As releasing leaves it, after another driver at first or without a record.
    try tree.write("driver_override", "none\n")
    if let first {
      try tree.write(
        tree.record(of: tree.address),
        BindingRecord(driver: first, override: "", identity: identity).text)
    }
    let plan = try binding.plan(unbinding: tree.address)
    #expect(plan.refusals.isEmpty)
    #expect(
      plan.steps.prefix(2) == [
        .write(tree.address, text: "", file: device(tree) + "/driver_override"),
        .write(tree.address, text: "\(tree.address)", file: "bus/pci/drivers_probe"),
      ])
    #expect(
      plan.steps.dropFirst(2)
        == (first == nil
          ? [] : [.expect(tree.address, driver: first), .forget(tree.address)]))
  }

  @Test func `releasing a device that was bound keeps the record of its own driver`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,cmb=1M,group=1")
    try tree.setBound(from: "nvme")
    let plan = try binding.plan(releasing: tree.address)
    #expect(plan.refusals.isEmpty)
    // An emulated tree has no kernel that takes the driver away: all is undone.
    #expect(throws: DeviceError.self) { try binding.carryOut(plan) }
    let back = try binding.plan(unbinding: tree.address)
    #expect(back.steps.contains(.expect(tree.address, driver: "nvme")))
  }
}
