import DeviceFixtures
import DeviceSources
import DriverBinding
import PCIDevices
import Testing

/// Giving devices back to their drivers.
@Suite struct UnbindingTests {
  private func rules(_ plan: BindingPlan) -> [String] { plan.refusals.map(\.rule) }

  /// The files that a plan writes of a device, and what.
  private func writes(_ plan: BindingPlan) -> [String] {
    plan.steps.compactMap { step in
      guard case .write(_, let text, let file) = step else { return nil }
      return "\(file.split(separator: "/").last ?? "")=\(text)"
    }
  }

  @Test func `unbinding goes back to the driver and the override that were there`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1")
    try tree.setBound(from: "nvme", override: "mine")
    let back = try binding.plan(unbinding: tree.address)
    #expect(back.refusals.isEmpty)
    #expect(
      back.steps == [
        .write(tree.address, text: "mine", file: "bus/pci/devices/0000:01:00.0/driver_override"),
        .write(
          tree.address, text: "0000:01:00.0", file: "bus/pci/devices/0000:01:00.0/driver/unbind"),
        .write(tree.address, text: "0000:01:00.0", file: "bus/pci/drivers_probe"),
        .expect(tree.address, driver: "nvme"), .forget(tree.address),
      ])
  }

  @Test func `a device that had no driver gets none`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1")
    try tree.setBound(from: nil)
    let plan = try binding.plan(unbinding: tree.address)
    #expect(plan.steps.contains(.expect(tree.address, driver: nil)))
    #expect(writes(plan) == ["driver_override=", "unbind=0000:01:00.0"])
  }

  @Test func `binding again does not forget what was there at first`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1")
    try tree.makeDirectory("/bus/pci/drivers/pci-stub")
    try tree.setBound(from: "nvme")
    let plan = try binding.plan(binding: tree.address, to: "pci-stub")
    // What a kernel would have done.
    try tree.setDriver("pci-stub")
    try binding.carryOut(plan)
    #expect(try tree.text("driver_override") == "pci-stub")
    let back = try binding.plan(unbinding: tree.address)
    #expect(back.steps.contains(.expect(tree.address, driver: "nvme")))
  }

  @Test(arguments: [("nvme", "(null)"), ("nvme", "nvme"), ("virtio-pci", ""), (nil, "(null)")])
  func `a device that nobody bound is not taken from its driver`(driver: String?, override: String)
    throws
  {
    let device = driver.map { ",driver=\($0)" } ?? ""
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1" + device)
    try tree.write("driver_override", override + "\n")
    let plan = try binding.plan(unbinding: tree.address)
    #expect(rules(plan) == ["not-bound"])
    #expect(plan.refusals.first?.cause.contains("driver \(driver ?? "none")") == true)
    let error = try #require(throws: DeviceError.self) { try binding.carryOut(plan) }
    guard case .refused = error else { throw error }
    #expect(try tree.text("driver_override") == override)
    #expect(try tree.text("/bus/pci/drivers_probe") == "")
  }

  @Test(arguments: ["vfio-pci", "uio_pci_generic", "pci-stub"])
  func `what others gave to user space goes to the driver that the kernel chooses`(driver: String)
    throws
  {
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1,driver=\(driver)")
    let plan = try binding.plan(unbinding: tree.address)
    #expect(plan.refusals.isEmpty)
    #expect(
      writes(plan) == ["driver_override=", "unbind=0000:01:00.0", "drivers_probe=0000:01:00.0"])
  }

  @Test(arguments: ["vfio-pci", "genpool"])
  func `a device that is left with nobody but an override of ours is given back`(override: String)
    throws
  {
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1")
    try tree.write("driver_override", override + "\n")
    let plan = try binding.plan(unbinding: tree.address)
    #expect(plan.refusals.isEmpty)
    #expect(writes(plan) == ["driver_override=", "drivers_probe=0000:01:00.0"])
  }

  @Test func `a device that has its driver again keeps it, and unbinding twice does no harm`()
    throws
  {
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1")
    try tree.setBound(from: "nvme")
    // By hand, without the override.
    try tree.setDriver("nvme")
    try tree.setNetworkUp()
    let half = try binding.plan(unbinding: tree.address)
    #expect(half.refusals.isEmpty && writes(half) == ["driver_override="])
    try tree.write("driver_override", "(null)\n")
    let plan = try binding.plan(unbinding: tree.address)
    #expect(plan.refusals.isEmpty && plan.steps == [.forget(tree.address)])
    try binding.carryOut(plan)
    #expect(try !tree.hasRecord())
    let again = try binding.plan(unbinding: tree.address)
    #expect(rules(again) == ["not-bound"])
  }

  @Test func `a device that another driver got meanwhile is not taken from it while it is in use`()
    throws
  {
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1")
    try tree.setBound(from: "nvme")
    try tree.setDriver("virtio-pci")
    #expect(try binding.plan(unbinding: tree.address).refusals.isEmpty)
    try tree.setNetworkUp()
    let plan = try binding.plan(unbinding: tree.address)
    #expect(rules(plan) == ["in-use"])
    #expect(plan.refusals.first?.cure == "ip link set eth7 down")
  }

  @Test func `another device at the address has another past`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1")
    try tree.setBound(from: "nvme")
    try tree.write("device", "0x4711\n")
    let steps = try binding.plan(unbinding: tree.address).steps
    #expect(!steps.contains { if case .expect = $0 { true } else { false } })
  }

  @Test func `of a group those that were bound are given back with it`() throws {
    let (tree, binding) = try TemporaryTree.binding(
      "nvme,group=1", "ivshmem,group=1", "ivshmem,group=1,driver=vfio-pci", "nvme,group=2")
    try tree.setBound(from: "nvme")
    try tree.setBound(from: "ivshmem", tree.addresses[1])
    try tree.setBound(from: "nvme", tree.addresses[3])
    let alone = try binding.plan(unbinding: tree.address)
    #expect(alone.members.map(\.role) == [.changes, .harmless, .harmless])
    let whole = try binding.plan(unbinding: tree.address, isWholeGroup: true)
    #expect(whole.refusals.isEmpty)
    #expect(whole.members.map(\.role) == [.changes, .changes, .harmless])
    let forgotten = whole.steps.compactMap { step in
      if case .forget(let device) = step { device } else { nil }
    }
    #expect(forgotten == Array(tree.addresses.prefix(2)))
    try tree.setDriver("virtio-pci", of: tree.addresses[1])
    try tree.setNetworkUp(of: tree.addresses[1])
    let refused = try binding.plan(unbinding: tree.address, isWholeGroup: true)
    #expect(rules(refused) == ["in-use"])
    #expect(refused.refusals.first?.subject == "\(tree.addresses[1])")
  }
}
