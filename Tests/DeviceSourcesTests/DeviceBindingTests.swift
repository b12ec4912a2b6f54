import DeviceEmulation
import DeviceFixtures
import DeviceSources
import PCIDevices
import SystemPackage
import Testing

@Suite struct DeviceBindingTests {
  /// A tree whose kernel knows vfio-pci.
  private func tree(_ devices: String...) throws -> (TemporaryTree, DeviceBinding) {
    let tree = try TemporaryTree(devices.map { try EmulatedDevice.parse($0) })
    try tree.makeDirectory("/bus/pci/drivers/vfio-pci")
    try tree.write("/bus/pci/drivers_probe", "")
    return (tree, DeviceBinding(tree: DeviceTree(root: tree.root)))
  }

  private func rules(_ plan: BindingPlan) -> [String] { plan.refusals.map(\.rule) }

  // MARK: Plans

  @Test func `a device is taken from its driver by override, unbind and probe`() throws {
    let (tree, binding) = try tree("nvme,group=1,driver=nvme")
    let plan = try binding.plan(binding: tree.address)
    #expect(plan.refusals.isEmpty)
    #expect(
      plan.steps == [
        .remember(
          tree.address,
          BindingRecord(
            driver: "nvme", override: "", identity: DeviceIdentity(vendor: 0x1b36, device: 0x10))),
        .write(
          tree.address, text: "vfio-pci", file: "bus/pci/devices/0000:01:00.0/driver_override"),
        .write(
          tree.address, text: "0000:01:00.0", file: "bus/pci/devices/0000:01:00.0/driver/unbind"),
        .write(tree.address, text: "0000:01:00.0", file: "bus/pci/drivers_probe"),
        .expect(tree.address, driver: "vfio-pci"),
      ])
    #expect(plan.members.map(\.role) == [.changes])
  }

  @Test func `nothing is done to a device that has the driver`() throws {
    let (tree, binding) = try tree("nvme,group=1,driver=vfio-pci")
    let plan = try binding.plan(binding: tree.address)
    #expect(plan.refusals.isEmpty && plan.steps.isEmpty)
    #expect(plan.members.map(\.role) == [.ready])
  }

  @Test func `who is in the way of the group is named, and bound with it when that is asked for`()
    throws
  {
    let (tree, binding) = try tree(
      "nvme,group=1,driver=nvme", "ivshmem,group=1,driver=ivshmem", "ivshmem,group=1",
      "nvme,group=1,driver=vfio-pci", "nvme,group=2,driver=nvme")
    let alone = try binding.plan(binding: tree.address)
    #expect(rules(alone) == ["group-not-viable"])
    #expect(alone.refusals.first?.cause.contains("\"\(tree.addresses[1])\"") == true)
    #expect(alone.members.map(\.role) == [.changes, .inTheWay, .harmless, .ready])
    let whole = try binding.plan(binding: tree.address, isWholeGroup: true)
    #expect(whole.refusals.isEmpty)
    #expect(whole.members.map(\.role) == [.changes, .changes, .harmless, .ready])
    let expected = whole.steps.compactMap { step in
      if case .expect(let device, driver: "vfio-pci") = step { device } else { nil }
    }
    #expect(expected == Array(tree.addresses.prefix(2)))
  }

  @Test func `a bridge of the group may stay`() throws {
    let (tree, binding) = try tree("nvme,group=1,driver=nvme", "ivshmem,group=1,driver=pcieport")
    try tree.write("/bus/pci/devices/\(tree.addresses[1])/class", "0x060400\n")
    let plan = try binding.plan(binding: tree.address)
    #expect(plan.refusals.isEmpty && plan.members.map(\.role) == [.changes, .harmless])
  }

  @Test func `without an IOMMU group there is nothing that vfio-pci is good for`() throws {
    let (tree, binding) = try tree("nvme,driver=nvme")
    #expect(try rules(binding.plan(binding: tree.address)) == ["no-iommu-group"])
    try tree.makeDirectory("/bus/pci/drivers/uio_pci_generic")
    #expect(
      try binding.plan(binding: tree.address, to: "uio_pci_generic").refusals.isEmpty)
  }

  @Test(arguments: ["vfio-pci2", "", "../nvme", "a b"])
  func `a driver that the kernel does not have is refused`(driver: String) throws {
    let (tree, binding) = try tree("nvme,group=1,driver=nvme")
    #expect(
      try rules(binding.plan(binding: tree.address, to: driver)) == ["no-such-driver"])
  }

  @Test func `a kind that had better stay is bound only by who types its ids again`() throws {
    let (tree, binding) = try tree("nvme,group=1,driver=nvme")
    try tree.write("class", "0x030000\n")
    try tree.write("boot_vga", "1\n")
    #expect(try rules(binding.plan(binding: tree.address)) == ["display", "boot-vga"])
    let wrong = DeviceIdentity(vendor: 0x1b36, device: 0x11)
    #expect(
      try rules(binding.plan(binding: tree.address, forced: wrong)) == ["force-mismatch"])
    let right = DeviceIdentity(vendor: 0x1b36, device: 0x10)
    #expect(try binding.plan(binding: tree.address, forced: right).refusals.isEmpty)
    try tree.writeConfig(0, [0xff, 0xff])
    #expect(
      try rules(binding.plan(binding: tree.address, forced: right)) == ["no-response"])
  }

  @Test func `forcing one device does not force its group`() throws {
    let (tree, binding) = try tree("nvme,group=1,driver=nvme", "nvme,group=1,driver=nvme")
    try tree.write("/bus/pci/devices/\(tree.addresses[1])/class", "0x030000\n")
    let plan = try binding.plan(
      binding: tree.address, isWholeGroup: true,
      forced: DeviceIdentity(vendor: 0x1b36, device: 0x10))
    #expect(rules(plan) == ["display"])
    #expect(plan.refusals.first?.subject == "\(tree.addresses[1])")
  }

  // MARK: The way back

  @Test func `unbinding goes back to the driver and the override that were there`() throws {
    let (tree, binding) = try tree("nvme,group=1,driver=nvme")
    try tree.write("driver_override", "mine\n")
    #expect(throws: AttachError.self) {
      try binding.carryOut(binding.plan(binding: tree.address))
    }
    // What a kernel would have done.
    try tree.link("driver", to: "../../../bus/pci/drivers/vfio-pci")
    #expect(try tree.text("driver_override") == "vfio-pci")
    let back = try binding.plan(unbinding: tree.address)
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
    let (tree, binding) = try tree("nvme,group=1")
    try? binding.carryOut(binding.plan(binding: tree.address))
    try tree.link("driver", to: "../../../bus/pci/drivers/vfio-pci")
    let steps = try binding.plan(unbinding: tree.address).steps
    #expect(steps.contains(.expect(tree.address, driver: nil)))
    #expect(!steps.contains { "\($0)".contains("drivers_probe") })
  }

  @Test func `binding again does not forget what was there at first`() throws {
    let (tree, binding) = try tree("nvme,group=1,driver=nvme")
    try tree.makeDirectory("/bus/pci/drivers/pci-stub")
    try? binding.carryOut(binding.plan(binding: tree.address, to: "pci-stub"))
    try tree.link("driver", to: "../../../bus/pci/drivers/pci-stub")
    try? binding.carryOut(binding.plan(binding: tree.address))
    try tree.link("driver", to: "../../../bus/pci/drivers/vfio-pci")
    let steps = try binding.plan(unbinding: tree.address).steps
    #expect(steps.contains(.expect(tree.address, driver: "nvme")))
  }

  @Test func `another device at the address has another past`() throws {
    let (tree, binding) = try tree("nvme,group=1,driver=nvme")
    try? binding.carryOut(binding.plan(binding: tree.address))
    try tree.write("device", "0x4711\n")
    let steps = try binding.plan(unbinding: tree.address).steps
    #expect(!steps.contains { if case .expect = $0 { true } else { false } })
  }

  @Test(arguments: ["", "driver=nvme\n", "driver=\noverride=\nids=1b36\n", "driver\noverride=\n"])
  func `a damaged record is none`(text: String) {
    #expect(BindingRecord(text: text) == nil)
  }

  @Test func `a record is read as it was written`() {
    for driver in ["nvme", nil] {
      for override in ["", "a=b"] {
        let record = BindingRecord(
          driver: driver, override: override, identity: DeviceIdentity(vendor: 1, device: 0xabcd))
        #expect(BindingRecord(text: record.text) == record)
      }
    }
  }

  // MARK: Carrying out

  @Test func `an emulated tree has no kernel, and the error says so`() throws {
    let (tree, binding) = try tree("nvme,group=1")
    let error = try #require(throws: AttachError.self) {
      try binding.carryOut(binding.plan(binding: tree.address))
    }
    #expect(error.description.contains("an emulated tree has no kernel"))
    #expect(try tree.text("/bus/pci/drivers_probe") == "\(tree.address)")
  }

  @Test func `a refused plan changes nothing`() throws {
    let (tree, binding) = try tree("nvme,driver=nvme")
    let error = try #require(throws: AttachError.self) {
      try binding.carryOut(binding.plan(binding: tree.address))
    }
    guard case .refused = error else { throw error }
    #expect(try tree.text("driver_override") == "(null)")
  }

  @Test func `a device whose memory is open through sysfs is not bound`() throws {
    let (tree, binding) = try tree("nvme,cmb=64M,group=1")
    let range = try SysfsSource(root: tree.root).open(BARRequest(device: tree.address, bar: 2))
    let error = try #require(throws: AttachError.self) {
      try binding.carryOut(binding.plan(binding: tree.address))
    }
    #expect(error.errno == .resourceBusy)
    #expect(try tree.text("driver_override") == "genpool")
    _ = consume range
  }
}
