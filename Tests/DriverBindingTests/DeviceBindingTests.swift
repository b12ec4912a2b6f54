import DeviceEmulation
import DeviceFixtures
import DeviceSources
import DriverBinding
import PCIDevices
import SystemPackage
import Testing

@Suite struct DeviceBindingTests {
  private func rules(_ plan: BindingPlan) -> [String] { plan.refusals.map(\.rule) }

  // MARK: Plans

  @Test func `a device is taken from its driver by override, unbind and probe`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1,driver=nvme")
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
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1,driver=vfio-pci")
    let plan = try binding.plan(binding: tree.address)
    #expect(plan.refusals.isEmpty && plan.steps.isEmpty)
    #expect(plan.members.map(\.role) == [.ready])
  }

  @Test func `who is in the way of the group is named, and bound with it when that is asked for`()
    throws
  {
    let (tree, binding) = try TemporaryTree.binding(
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
    let (tree, binding) = try TemporaryTree.binding(
      "nvme,group=1,driver=nvme", "ivshmem,group=1,driver=pcieport")
    try tree.write("/bus/pci/devices/\(tree.addresses[1])/class", "0x060400\n")
    let plan = try binding.plan(binding: tree.address)
    #expect(plan.refusals.isEmpty && plan.members.map(\.role) == [.changes, .harmless])
  }

  @Test func `without an IOMMU group there is nothing that vfio-pci is good for`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,driver=nvme")
    #expect(try rules(binding.plan(binding: tree.address)) == ["no-iommu-group"])
    try tree.makeDirectory("/bus/pci/drivers/uio_pci_generic")
    #expect(
      try binding.plan(binding: tree.address, to: "uio_pci_generic").refusals.isEmpty)
  }

  @Test(arguments: ["vfio-pci2", "", "../nvme", "a b"])
  func `a driver that the kernel does not have is refused`(driver: String) throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1,driver=nvme")
    #expect(
      try rules(binding.plan(binding: tree.address, to: driver)) == ["no-such-driver"])
  }

  @Test func `a kind that had better stay is bound only by who types its ids again`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1,driver=nvme")
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
    let (tree, binding) = try TemporaryTree.binding(
      "nvme,group=1,driver=nvme", "nvme,group=1,driver=nvme")
    try tree.write("/bus/pci/devices/\(tree.addresses[1])/class", "0x030000\n")
    let plan = try binding.plan(
      binding: tree.address, isWholeGroup: true,
      forced: DeviceIdentity(vendor: 0x1b36, device: 0x10))
    #expect(rules(plan) == ["display"])
    #expect(plan.refusals.first?.subject == "\(tree.addresses[1])")
  }

  // MARK: Records

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
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1")
    let error = try #require(throws: DeviceError.self) {
      try binding.carryOut(binding.plan(binding: tree.address))
    }
    #expect(error.description.contains("an emulated tree has no kernel"))
    #expect(!error.description.contains("not undone"))
    #expect(try tree.text("/bus/pci/drivers_probe") == "\(tree.address)")
  }

  @Test(arguments: ["", "mine"])
  func `binding that fails leaves the device as it was`(override: String) throws {
    for step in ["kernel", "probe", "unbind"] {
      let (tree, binding) = try TemporaryTree.binding("nvme,group=1,driver=nvme")
      try tree.setDriver("nvme")
      try tree.write("driver_override", override + "\n")
      switch step {
      case "probe": try tree.makeDirectory("/bus/pci/drivers_probe")
      case "unbind": tree.remove("/bus/pci/drivers/nvme/unbind")
      default: break
      }
      let error = try #require(throws: DeviceError.self) {
        try binding.carryOut(binding.plan(binding: tree.address))
      }
      #expect(error.description.contains(step), "\(error)")
      #expect(!error.description.contains("not undone"), "\(error)")
      #expect(try tree.text("driver_override") == override)
      #expect(try !tree.hasRecord())
    }
  }

  @Test func `binding again that fails goes back to the first binding, not before it`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,group=1")
    try tree.makeDirectory("/bus/pci/drivers/uio_pci_generic")
    try tree.setBound(from: "nvme")
    #expect(throws: DeviceError.self) {
      try binding.carryOut(binding.plan(binding: tree.address, to: "uio_pci_generic"))
    }
    #expect(try tree.text("driver_override") == "vfio-pci")
    #expect(try tree.text(tree.record(of: tree.address)).contains("driver=nvme"))
  }

  @Test func `when one of a group fails, the others are given back, and who cannot be is named`()
    throws
  {
    let (tree, binding) = try TemporaryTree.binding(
      "nvme,group=1,driver=nvme", "ivshmem,group=1,driver=ivshmem")
    let (first, second) = (tree.addresses[0], tree.addresses[1])
    try tree.setDriver("ivshmem", of: second)
    let plan = try binding.plan(binding: first, isWholeGroup: true)
    // What a kernel would have done with the first one, but not undone.
    try tree.setDriver("vfio-pci")
    let error = try #require(throws: DeviceError.self) { try binding.carryOut(plan) }
    #expect(error.description.hasPrefix("bind \(second) to vfio-pci: "), "\(error)")
    #expect(error.description.contains("not undone: bind \(first) to nvme: "), "\(error)")
    #expect(try tree.text("/bus/pci/drivers/vfio-pci/unbind") == "\(first)")
    #expect(try tree.text("/bus/pci/drivers_probe") == "\(first)")
    for device in [first, second] {
      #expect(try tree.text("/bus/pci/devices/\(device)/driver_override") == "")
    }
    #expect(try tree.hasRecord(of: first), "so that it can still be unbound")
    #expect(try !tree.hasRecord(of: second))
  }

  @Test func `a refused plan changes nothing`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,driver=nvme")
    let error = try #require(throws: DeviceError.self) {
      try binding.carryOut(binding.plan(binding: tree.address))
    }
    guard case .refused = error else { throw error }
    #expect(try tree.text("driver_override") == "(null)")
  }
}
