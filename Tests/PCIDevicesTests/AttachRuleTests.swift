import DeviceEmulation
import DeviceFixtures
import GenPool
import PCIDevices
import Testing

/// Every rule, broken alone on an otherwise good device.
@Suite struct AttachRuleTests {
  struct Break: CustomTestStringConvertible, Sendable {
    /// The rule that says no.
    let rule: String
    /// What it is about, when a rule is broken in more ways than one.
    let way: String
    /// The device, and what goes wrong with it.
    let device: String
    /// What is asked for besides BAR 2 of the device.
    let ask: @Sendable (inout BARRequest) -> Void
    let apply: @Sendable (TemporaryTree) throws -> Void

    init(
      _ rule: String, _ way: String = "", device: String = "nvme,cmb=64M",
      apply: @escaping @Sendable (TemporaryTree) throws -> Void = { _ in },
      ask: @escaping @Sendable (inout BARRequest) -> Void = { _ in }
    ) {
      self.rule = rule
      self.way = way
      self.device = device
      self.ask = ask
      self.apply = apply
    }

    var testDescription: String { rule + (way.isEmpty ? "" : ": " + way) }

    /// The broken tree, and what one of its devices is asked for.
    func make() throws -> (TemporaryTree, BARRequest) {
      let tree = try TemporaryTree(device)
      try apply(tree)
      var request = BARRequest(device: tree.address, bar: 2)
      ask(&request)
      return (tree, request)
    }
  }

  static let breaks: [Break] = [
    Break("no-response") { try $0.writeConfig(0, [0xff, 0xff]) },
    Break("unreadable", "numa_node") { try $0.write("numa_node", "near\n") },
    Break("unreadable", "another row of resource") { try $0.write("resource", line: 6, "odd") },
    Break("display", device: "ivshmem") { try $0.write("class", "0x030000\n") },
    Break("display", "XGA", device: "ivshmem") { try $0.write("class", "0x030100\n") },
    Break("accelerator", "3D", device: "ivshmem") { try $0.write("class", "0x030200\n") },
    Break("accelerator", "other", device: "ivshmem") { try $0.write("class", "0x038000\n") },
    Break("bridge", device: "ivshmem") { try $0.write("class", "0x060400\n") },
    Break("boot-vga") { try $0.write("boot_vga", "1\n") },
    Break("named-by-address", "storage", ask: { $0.naming = .bySearch }),
    Break(
      "named-by-address", "network", apply: { try $0.write("class", "0x020000\n") },
      ask: { $0.naming = .bySearch }),
    Break("power-state", "D3hot") { try $0.write("power_state", "D3hot\n") },
    Break("power-state", "error") { try $0.write("power_state", "error\n") },
    Break("hotplug", "removable") { try $0.write("removable", "removable\n") },
    Break("hotplug", "slot") {
      try $0.write("/bus/pci/slots/1/address", "0000:01:00\n")
      try $0.write("/bus/pci/slots/1/power", "1\n")
    },
    Break("lockdown", "integrity") {
      try $0.write("/kernel/security/lockdown", "none [integrity] confidentiality\n")
    },
    Break("lockdown", "confidentiality") {
      try $0.write("/kernel/security/lockdown", "none integrity [confidentiality]\n")
    },
    Break("driver-bound", device: "nvme,cmb=64M,driver=nvme"),
    Break("driver-bound", "in a group of its own", device: "nvme,cmb=64M,driver=nvme,group=1"),
    Break(
      "force-mismatch", device: "nvme,cmb=64M,driver=nvme",
      ask: { $0.forced = DeviceIdentity(vendor: 0x1b36, device: 0x0011) }),
    Break("group-not-viable", device: "nvme,cmb=64M,group=1") {
      try $0.tree.add(EmulatedDevice.parse("ivshmem,group=1,driver=ivshmem"))
    },
    Break("group-not-viable", "not PCI", device: "nvme,cmb=64M,group=1") {
      try $0.makeDirectory("/bus/platform/drivers/arm-smmu-test")
      try $0.makeDirectory("/kernel/iommu_groups/1/devices/platform-thing")
      try $0.link(
        "/kernel/iommu_groups/1/devices/platform-thing/driver",
        to: "../../../../../bus/platform/drivers/arm-smmu-test")
    },
    Break("group-not-viable", "pcieport on no bridge", device: "nvme,cmb=64M,group=1") {
      try $0.tree.add(EmulatedDevice.parse("ivshmem,group=1,driver=pcieport"))
    },
    Break("group-not-viable", "not known", device: "nvme,cmb=64M,group=1") {
      $0.remove("/kernel/iommu_groups/1")
    },
    Break("no-such-bar", ask: { $0.bar = 4 }),
    Break("not-memory") {
      try $0.write(
        "resource", line: 3, "0x000000000000c000 0x000000000000c0ff 0x0000000000040101")
    },
    Break("empty-bar") {
      try $0.write(
        "resource", line: 3, "0x0000000000000000 0x0000000000000000 0x000000000014220c")
    },
    Break("unassigned-bar") {
      try $0.write(
        "resource", line: 3, "0x0000000000000000 0x0000000003ffffff 0x000000002014220c")
    },
    Break("partial-page", "size") {
      try $0.write("resource", line: 3, $0.row(at: 0, size: 0x800, flags: 0x14220c))
    },
    Break("partial-page", "start") {
      try $0.write("resource", line: 3, $0.row(at: 0x800, size: 0x1000, flags: 0x14220c))
    },
    Break("registers", ask: { $0.bar = 0 }),
    Break(
      "registers", "announced as memory",
      ask: {
        $0.bar = 0
        $0.contents = .announcedMemory
      }),
    Break("registers", "an administrative controller") {
      try $0.write("class", "0x010803\n")
    } ask: {
      $0.bar = 0
    },
    Break("registers-beside", "MSI-X") { try $0.addMessageInterrupts(bar: 2, table: 0x1000) },
    Break("registers-beside", "a byte of the last page") {
      try $0.addMessageInterrupts(bar: 2, table: 0x3000)
    } ask: {
      $0.size = .kibibytes(16)
    },
    Break("unknown-capabilities") {
      try $0.addMessageInterrupts(bar: 0, table: 0x1000)
      try $0.write("config", Array($0.read("config").prefix(64)))
    },
    Break("unknown-capabilities", "a list with a loop") {
      try $0.addMessageInterrupts(bar: 0, table: 0x1000)
      try $0.writeConfig(0x41, [0x40])
    },
    Break("unknown-capabilities", "an extended list with a loop") {
      try $0.addRegisterLocator(next: 0x100, entries: [])
    },
    Break("registers-beside", "of CXL") {
      try $0.addRegisterLocator(next: 0, entries: [(2 | 1 << 8 | 0x2_0000, 0)])
    },
    Break("overlapping-bar", "of a row without sense of another device") {
      let other = try $0.tree.add(EmulatedDevice.parse("ivshmem,size=1M"))
      try $0.write(
        "/bus/pci/devices/\(other)/resource", line: 1,
        $0.row(at: 0x3fff000, size: 0x1000, flags: 0x40300))
    },
    Break("overlapping-bar", "of an expansion ROM") {
      let other = try $0.tree.add(EmulatedDevice.parse("ivshmem,size=1M"))
      try $0.write(
        "/bus/pci/devices/\(other)/resource", line: 7,
        $0.row(at: 0x3fff000, size: 0x1000, flags: 0x46200))
    },
    Break("overlapping-bar", "of another device") {
      let other = try $0.tree.add(EmulatedDevice.parse("ivshmem,size=1M"))
      try $0.write(
        "/bus/pci/devices/\(other)/resource", line: 1,
        $0.row(at: 0x3fff000, size: 0x1000, flags: 0x40200))
    },
    Break("overlapping-bar", "of the same device") {
      try $0.write("resource", line: 5, $0.row(at: 0, size: 0x4000, flags: 0x140204))
    },
    Break("not-prefetchable") { try $0.setNotPrefetchable() },
    Break("no-resource-file") { $0.remove("resource2") },
  ]

  /// Who refuses, in the table's order.
  private func refusals(
    _ tree: TemporaryTree, _ request: BARRequest, under rules: [AttachRule] = AttachRule.sysfs
  ) throws -> [AttachRule.Refusal] {
    let devices = DeviceTree(root: tree.root)
    let subject = try AttachRule.Subject(
      request, of: devices.device(at: request.device), in: devices)
    return AttachRule.refusals(of: subject, under: rules)
  }

  @Test(arguments: ["nvme,cmb=64M", "ivshmem,size=16M", "nvme,cmb=64M,group=1,removable=no"])
  func `a good device is not refused`(device: String) throws {
    let tree = try TemporaryTree(device)
    #expect(try refusals(tree, BARRequest(device: tree.address, bar: 2)).isEmpty)
  }

  @Test(arguments: breaks)
  func `a rule that is broken refuses, alone, and says why`(broken: Break) throws {
    let (tree, request) = try broken.make()
    let refusals = try refusals(tree, request)
    #expect(refusals.map(\.rule) == [broken.rule])
    let refusal = try #require(refusals.first)
    #expect(refusal.subject == "BAR \(request.bar) of \(tree.address)")
    #expect(!refusal.cause.isEmpty && !refusal.cure.isEmpty)
  }

  @Test(arguments: breaks)
  func `without the rule in the table the same device is accepted`(broken: Break) throws {
    let (tree, request) = try broken.make()
    let others = AttachRule.sysfs.filter { $0.name != broken.rule }
    #expect(others.count == AttachRule.sysfs.count - 1)
    #expect(try refusals(tree, request, under: others).isEmpty)
  }

  @Test(arguments: breaks)
  func `only rules that can be allowed give way to allow`(broken: Break) throws {
    var (tree, request) = try broken.make()
    request.allowed = [broken.rule]
    let rule = try #require(AttachRule.sysfs.first { $0.name == broken.rule })
    #expect(try refusals(tree, request).isEmpty == rule.canBeAllowed)
    request.allowed = Set(AttachRule.sysfs.map(\.name)).subtracting([broken.rule])
    #expect(try refusals(tree, request).map(\.rule) == [broken.rule])
  }

  @Test func `every rule is broken by a test, and has a name of its own`() {
    let names = AttachRule.sysfs.map(\.name)
    #expect(Set(names).count == names.count)
    #expect(Set(Self.breaks.map(\.rule)) == Set(names))
  }

  @Test func `all that is wrong is said at once`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M,driver=nvme,removable=yes")
    try tree.write("power_state", "D3cold\n")
    let refusals = try refusals(tree, BARRequest(device: tree.address, bar: 0))
    #expect(
      refusals.map(\.rule) == ["power-state", "hotplug", "driver-bound", "registers"])
    #expect(refusals[1].cure.hasSuffix(", or say allow=hotplug"))
    #expect(refusals[2].cause == "driver nvme is bound to it")
  }

  @Test func `rows that take no memory overlap nothing`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    let other = try tree.tree.add(EmulatedDevice.parse("ivshmem,size=1M"))
    for row in [
      try tree.row(at: 0, size: 0x1000, flags: 0x40101),
      try tree.row(at: 0, size: 0x1000, flags: 0x2004_6200),
      "0x0000000000000000 0xffffffffffffffff 0x0000000000040200", "0x10", "",
    ] {
      for line in [1, 7] {
        try tree.write("/bus/pci/devices/\(other)/resource", line: line, row)
        #expect(try refusals(tree, BARRequest(device: tree.address, bar: 2)).isEmpty, "\(row)")
      }
    }
  }

  @Test func `registers that CXL locates leave the memory beside them`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    try tree.addRegisterLocator(next: 0, entries: [(2 | 1 << 8, 0), (4 | 3 << 8, 0), (2, 0)])
    let refusal = try #require(
      try refusals(tree, BARRequest(device: tree.address, bar: 2)).first)
    #expect(refusal.cause.contains("CXL component registers at 0x0000-0xffff of BAR 2"))
    let beside = BARRequest(
      device: tree.address, bar: 2, offset: .kibibytes(64),
      size: .mebibytes(64) - .kibibytes(64))
    #expect(try refusals(tree, beside).isEmpty)
  }

  // MARK: Registers and memory

  @Test func `no permission makes memory of an NVMe controller's registers`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    let request = BARRequest(
      device: tree.address, bar: 0, allowed: Set(AttachRule.sysfs.map(\.name)))
    let refusals = try refusals(tree, request)
    #expect(refusals.map(\.rule) == ["registers"])
    let cure = try #require(refusals.first?.cure)
    #expect(cure.contains("\(tree.address):cmb or \(tree.address):pmr"))
    #expect(!cure.contains("allow="))
  }

  @Test func `registers are opened as registers`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    let request = BARRequest(device: tree.address, bar: 0, contents: .registers)
    #expect(try refusals(tree, request).isEmpty)
  }

  @Test func `memory that a controller announces need not be prefetchable`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    try tree.setNotPrefetchable()
    let request = BARRequest(device: tree.address, bar: 2, contents: .announcedMemory)
    #expect(try refusals(tree, request).isEmpty)
    let behind = BARRequest(
      device: tree.address, bar: 0, offset: .kibibytes(8), contents: .announcedMemory)
    #expect(try refusals(tree, behind).isEmpty)
  }

  @Test func `BAR 0 of a device that is no NVMe controller may be memory`() throws {
    let tree = try TemporaryTree("memory")
    #expect(
      try refusals(tree, BARRequest(device: tree.address, bar: 0)).isEmpty)
  }

  @Test func `memory beside registers may be attached, and the cure says which`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    try tree.addMessageInterrupts(bar: 2, table: 0x1000)
    let whole = BARRequest(device: tree.address, bar: 2)
    let refusal = try #require(try refusals(tree, whole).first)
    #expect(refusal.cause.contains("MSI-X table at 0x1000-0x107f of BAR 2"))
    #expect(refusal.cure.contains("\(tree.address):2,offset=0x2000,size=0x3ffe000"))
    var beside = BARRequest(
      device: tree.address, bar: 2, offset: .kibibytes(8),
      size: .mebibytes(64) - .kibibytes(8))
    #expect(try refusals(tree, beside).isEmpty)
    beside.offset = .kibibytes(4)
    #expect(try refusals(tree, beside).map(\.rule) == ["registers-beside"])
    let registers = BARRequest(device: tree.address, bar: 2, contents: .registers)
    #expect(try refusals(tree, registers).isEmpty)
  }

  @Test func `an accelerator can be allowed by name`() throws {
    let tree = try TemporaryTree("ivshmem")
    try tree.write("class", "0x030200\n")
    #expect(
      try refusals(tree, BARRequest(device: tree.address, bar: 2, allowed: ["accelerator"]))
        .isEmpty)
    try tree.write("boot_vga", "1\n")
    #expect(
      try refusals(tree, BARRequest(device: tree.address, bar: 2, allowed: ["accelerator"]))
        .map(\.rule) == ["boot-vga"])
  }

  @Test func `a window of a bridge is no BAR, nor what a physical function keeps`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    let bridge = try tree.tree.add(EmulatedDevice.parse("ivshmem,size=1M"))
    let rows = try tree.text("/bus/pci/devices/\(bridge)/resource")
    let window = "0x0000008000000000 0x00000080ffffffff 0x0000000000102201\n"
    try tree.write(
      "/bus/pci/devices/\(bridge)/resource", rows + "\n" + String(repeating: window, count: 10))
    #expect(try refusals(tree, BARRequest(device: tree.address, bar: 2)).isEmpty)
  }

  @Test(arguments: ["pci-stub", "mlx5_vfio_pci", "xe-vfio-pci"])
  func `a member whose driver leaves DMA to user space does not spoil a group`(
    driver: String
  ) throws {
    let tree = try TemporaryTree("nvme,cmb=64M,group=1")
    try tree.tree.add(EmulatedDevice.parse("ivshmem,group=1,driver=\(driver)"))
    #expect(try refusals(tree, BARRequest(device: tree.address, bar: 2)).isEmpty)
  }

  @Test func `a variant driver of VFIO is one by its directory, whatever its name`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M,group=1")
    let other = try tree.tree.add(EmulatedDevice.parse("ivshmem,group=1,driver=odd_name"))
    let request = BARRequest(device: tree.address, bar: 2)
    #expect(try refusals(tree, request).map(\.rule) == ["group-not-viable"])
    try tree.makeDirectory("/bus/pci/devices/\(other)/vfio-dev")
    #expect(try refusals(tree, request).isEmpty)
    try tree.write("/bus/pci/drivers/odd_name/bind", "")
    try tree.link("driver", to: "../../../bus/pci/drivers/odd_name")
    try tree.makeDirectory("vfio-dev")
    let refusal = try #require(try refusals(tree, request).first)
    #expect(refusal.rule == "driver-bound")
    #expect(refusal.cure == "attach it through VFIO (source=vfio)")
    #expect(try refusals(tree, request, under: AttachRule.vfio).isEmpty)
  }

  @Test(arguments: ["vfio-pci", "uio_pci_generic", "pci-stub"])
  func `a driver that only waits to be opened is no obstacle`(driver: String) throws {
    let tree = try TemporaryTree("nvme,cmb=64M,group=1,driver=\(driver)")
    try tree.tree.add(EmulatedDevice.parse("ivshmem,group=1,driver=\(driver)"))
    #expect(try refusals(tree, BARRequest(device: tree.address, bar: 2)).isEmpty)
  }

  @Test func `a bridge with its port driver does not spoil a group`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M,group=1")
    let bridge = try tree.tree.add(EmulatedDevice.parse("ivshmem,group=1,driver=pcieport"))
    try tree.write("/bus/pci/devices/\(bridge)/class", "0x060400\n")
    #expect(try refusals(tree, BARRequest(device: tree.address, bar: 2)).isEmpty)
  }

  @Test func `typing the ids again forces a bound driver`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M,driver=nvme")
    var request = BARRequest(device: tree.address, bar: 2)
    request.forced = DeviceIdentity(vendor: 0x1b36, device: 0x0010)
    #expect(try refusals(tree, request).isEmpty)
  }

  @Test func `a device that no driver ever enabled has no power state to refuse`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    try tree.write("power_state", "unknown\n")
    #expect(try refusals(tree, BARRequest(device: tree.address, bar: 2)).isEmpty)
    tree.remove("power_state")
    #expect(try refusals(tree, BARRequest(device: tree.address, bar: 2)).isEmpty)
  }
}

extension TemporaryTree {
  /// Gives the first device CXL's register locator, in a list of extended capabilities.
  /// - Parameter entries: of each block the low and the high double word.
  fileprivate func addRegisterLocator(next: UInt32, entries: [(UInt32, UInt32)]) throws {
    try writeConfig(0x06, [0x10])
    try writeConfig(0x34, [0x40])
    // PCI Express, which extended capabilities go with.
    try writeConfig(0x40, [0x10, 0, 2, 0])
    let config = try read("config")
    if config.count < 4096 {
      try write("config", config + [UInt8](repeating: 0, count: 4096 - config.count))
    }
    let length = UInt32(12 + 8 * entries.count)
    var words: [UInt32] = [0x23 | 1 << 16 | next << 20, 0x1e98 | length << 20, 8]
    for (low, high) in entries { words += [low, high] }
    var bytes: [UInt8] = []
    for word in words {
      for shift in [0, 8, 16, 24] as [UInt32] {
        bytes.append(UInt8(truncatingIfNeeded: word >> shift))
      }
    }
    try writeConfig(0x100, bytes)
  }

  /// A row of `resource` that lies `offset` bytes behind the start of the first device's BAR 2.
  fileprivate func row(at offset: UInt64, size: UInt64, flags: UInt64) throws -> String {
    let device = try DeviceTree(root: root).device(at: address)
    let start = (device.bar(2)?.physical?.first.rawValue ?? 0) + offset
    return [start, start + size - 1, flags].map { "0x" + String($0, radix: 16) }
      .joined(separator: " ")
  }
}
