import DeviceEmulation
import DeviceFixtures
import GenPool
import PCIDevices
import SystemPackage
import Testing

@Suite struct DeviceTreeTests {
  /// The first device of `tree`.
  private func device(_ tree: TemporaryTree) throws -> Device {
    try DeviceTree(root: tree.root).device(at: tree.address)
  }

  /// A device with the given BARs.
  private func tree(_ bars: EmulatedBAR...) throws -> TemporaryTree {
    let identity = DeviceIdentity(vendor: 0x1b36, device: 0x0005)
    return try TemporaryTree([
      EmulatedDevice(
        identity: identity, subsystem: identity, classCode: ClassCode(0x058000), bars: bars)
    ])
  }

  @Test func `an NVMe controller is read as what it is`() throws {
    let device = try device(TemporaryTree("nvme,cmb=64M,group=7,node=1"))
    #expect(device.address.description == "0000:01:00.0")
    #expect(device.identity.description == "1b36:0010")
    #expect(device.subsystem?.description == "1af4:1100")
    #expect(device.classCode == ClassCode(0x010802))
    #expect(device.revision == 2)
    #expect(device.isResponding && !device.isMemoryEnabled && !device.isBootVGA)
    #expect(!device.isVirtualFunction && !device.isRemovable && device.hotplugSlot == nil)
    #expect(device.driver == nil)
    #expect(device.powerState == .d0)
    #expect(device.numaNode == NUMANode(1))
    #expect(device.iommuGroup?.number == 7)
    #expect(device.iommuGroup?.members.map(\.address) == [device.address])
    #expect(device.bars.map(\.index) == [0, 2])

    let buffer = try #require(device.bar(2))
    #expect(buffer.kind == .memory && buffer.isPrefetchable && buffer.is64Bit)
    #expect(buffer.size == .mebibytes(64))
    #expect(buffer.hasResourceFile && buffer.hasWriteCombiningFile)
    let physical = try #require(buffer.physical)
    #expect(physical.first.isAligned(to: buffer.size))
    #expect(buffer.bus?.rawValue == physical.first.rawValue)

    let registers = try #require(device.bar(0))
    #expect(!registers.isPrefetchable && !registers.hasWriteCombiningFile)
    #expect(device.bar(1) == nil)
  }

  @Test func `a device without the optional attributes is read`() throws {
    let tree = try TemporaryTree("memory")
    for name in ["numa_node", "power_state", "driver_override", "enable"] { tree.remove(name) }
    let device = try device(tree)
    #expect(device.numaNode == nil && device.powerState == nil && device.iommuGroup == nil)
  }

  @Test func `a domain may be wider than 16 bits`() throws {
    let tree = try TemporaryTree("memory,address=10000:e1:00.0")
    #expect(try device(tree).address.domain == 0x10000)
    #expect(try DeviceTree(root: tree.root).list().devices.map(\.address) == tree.addresses)
  }

  @Test func `a bridge that translates gives a BAR two different addresses`() throws {
    let buffer = try #require(
      try device(TemporaryTree("nvme,cmb=64M,bus-offset=-0x4000000000")).bar(2))
    let physical = try #require(buffer.physical)
    #expect(physical.first >= PhysicalAddress(0x80_0000_0000))
    #expect(buffer.bus == BusAddress(physical.first.rawValue - 0x40_0000_0000))
  }

  @Test func `an I/O BAR has a size and no address in memory`() throws {
    let bar = try #require(try device(tree(EmulatedBAR(index: 1, kind: .io, size: 256))).bar(1))
    #expect(bar.kind == .io && bar.size == 256 && bar.physical == nil && bar.bus == nil)
  }

  @Test func `a 32-bit BAR lies below 4 GiB`() throws {
    let tree = try tree(
      EmulatedBAR(index: 3, size: .mebibytes(1)),
      EmulatedBAR(index: 4, size: .mebibytes(8), isPrefetchable: true))
    for (index, size) in [(3, .mebibytes(1)), (4, .mebibytes(8))] as [(BAR.Index, ByteCount)] {
      let bar = try #require(try device(tree).bar(index))
      let physical = try #require(bar.physical)
      #expect(!bar.is64Bit && bar.size == size)
      #expect(physical.last < PhysicalAddress(1 << 32))
      #expect(bar.bus?.rawValue == physical.first.rawValue)
    }
  }

  @Test func `an unassigned BAR has a size and no addresses`() throws {
    let tree = try tree(
      EmulatedBAR(
        index: 0, size: .gibibytes(4), isPrefetchable: true, is64Bit: true, isAssigned: false))
    let bar = try #require(try device(tree).bar(0))
    #expect(bar.size == .gibibytes(4) && bar.physical == nil && bar.bus == nil)
  }

  @Test func `a device whose configuration space is all-ones has no bus addresses`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    try tree.write("config", [UInt8](repeating: 0xff, count: 4096))
    let device = try device(tree)
    #expect(!device.isResponding)
    #expect(device.bar(2)?.physical != nil && device.bar(2)?.bus == nil)
  }

  @Test func `a virtual function answers although its ids read as all-ones`() throws {
    let tree = try TemporaryTree("memory")
    try tree.link("physfn", to: "../0000:02:00.0")
    try tree.writeConfig(0, [0xff, 0xff, 0xff, 0xff])
    let virtual = try device(tree)
    #expect(virtual.isVirtualFunction && virtual.isResponding)
    try tree.write("config", [UInt8](repeating: 0xff, count: 256))
    #expect(try !device(tree).isResponding)
  }

  // MARK: Bus addresses

  @Test func `0 is a bus address, unless the register is of another kind than the BAR`() throws {
    let tree = try TemporaryTree("memory")
    try tree.writeConfig(0x10, [0x0c, 0, 0, 0, 0, 0, 0, 0])
    #expect(try device(tree).bar(0)?.bus == BusAddress(0))
    try tree.writeConfig(0x10, [0x00])
    #expect(try device(tree).bar(0)?.bus == nil, "a register that was never written")
    try tree.writeConfig(0x10, [0x01])
    #expect(try device(tree).bar(0)?.bus == nil)
  }

  /// A device below a bridge, whose prefetchable window is where `bus` says.
  private func treeBelowBridge(bus: UInt64) throws -> TemporaryTree {
    let tree = try TemporaryTree(
      "memory,size=1M,address=0000:05:00.0", "memory,address=0000:03:00.0")
    try tree.move(
      "/devices/pci0000:00/0000:05:00.0", to: "/devices/pci0000:00/0000:03:00.0/0000:05:00.0")
    try tree.link(
      "/bus/pci/devices/0000:05:00.0",
      to: "../../../devices/pci0000:00/0000:03:00.0/0000:05:00.0")
    let first = try #require(try device(tree).bar(0)?.physical).first.rawValue
    // A window of 2 MiB that begins 1 MiB before the device's BAR.
    let row = [first - 1 << 20, first + 1 << 20 - 1, 0x10_2201]
      .map { "0x" + String($0, radix: 16) }.joined(separator: " ")
    let none = Array(repeating: "0x0 0x0 0x0", count: 9)
    try tree.write(
      "/bus/pci/devices/0000:03:00.0/resource", (none + [row, none[0]]).joined(separator: "\n"))
    var config = try tree.read("/bus/pci/devices/0000:03:00.0/config")
    config[0x0e] = 1
    let window = bus - 1 << 20
    let (base, limit) = (
      UInt16(window >> 16 & 0xfff0) | 1, UInt16((window + 1 << 20) >> 16 & 0xfff0) | 1
    )
    config.replaceSubrange(
      0x24..<0x28,
      with: [base, limit].flatMap { [UInt8($0 & 0xff), UInt8($0 >> 8)] })
    for (place, value) in [(0x28, window >> 32), (0x2c, (window + 1 << 20) >> 32)] {
      for byte in 0..<4 {
        config[place + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * byte))
      }
    }
    try tree.write("/bus/pci/devices/0000:03:00.0/config", config)
    return tree
  }

  @Test func `a virtual function's bus address follows from its bridge's window`() throws {
    let tree = try treeBelowBridge(bus: 0x12_3450_0000)
    try tree.link("physfn", to: "../0000:05:00.1")
    try tree.writeConfig(0, [0xff, 0xff, 0xff, 0xff])
    try tree.writeConfig(0x10, [0, 0, 0, 0, 0, 0, 0, 0])
    #expect(try device(tree).bar(0)?.bus == BusAddress(0x12_3450_0000))
    // Without a bridge nothing tells.
    try tree.write("/bus/pci/devices/0000:03:00.0/resource", "nonsense")
    #expect(try device(tree).bar(0)?.bus == nil)
  }

  @Test func `Enhanced Allocation makes registers say nothing`() throws {
    let tree = try TemporaryTree("memory")
    #expect(try device(tree).bar(0)?.bus != nil)
    let row = try #require(try tree.text("resource").split(separator: "\n").first)
    try tree.write("resource", line: 1, String(row.dropLast(2)) + "2c")
    let bar = try #require(try device(tree).bar(0))
    #expect(bar.physical != nil && bar.bus == nil)
  }

  @Test func `a register of 0 that the bridge contradicts was reset`() throws {
    let tree = try treeBelowBridge(bus: 0x12_3450_0000)
    try tree.writeConfig(0x10, [0x0c, 0, 0, 0, 0, 0, 0, 0])
    #expect(try device(tree).bar(0)?.bus == nil)
  }

  @Test func `a register that the bridge above contradicts tells no bus address`() throws {
    let tree = try treeBelowBridge(bus: 0x12_3450_0000)
    func setRegister(_ bus: UInt64) throws {
      try tree.writeConfig(
        0x10, (0..<8).map { UInt8(truncatingIfNeeded: (bus | 0xc) >> UInt64(8 * $0)) })
    }
    try setRegister(0x12_3450_0000)
    #expect(try device(tree).bar(0)?.bus == BusAddress(0x12_3450_0000))
    for stale in [0x12_3460_0000, 0x12_3440_0000, 0xc000_0000, 0x99_0000_0000] as [UInt64] {
      try setRegister(stale)
      #expect(try device(tree).bar(0)?.bus == nil, "\(stale)")
    }
    // A window elsewhere, in which neither lies.
    let row = "0x0000001000000000 0x00000010001fffff 0x0000000000102201"
    try tree.write("/bus/pci/devices/0000:03:00.0/resource", line: 10, row)
    #expect(try device(tree).bar(0)?.bus == nil)
    try setRegister(0)
    #expect(try device(tree).bar(0)?.bus == nil, "it was reset, and no window leads to 0")
  }

  @Test func `a register of 0 tells a bus address where a window leads to it`() throws {
    let tree = try treeBelowBridge(bus: 1 << 20)
    let row = "0x0000001000000000 0x00000010001fffff 0x0000000000102201"
    try tree.write("/bus/pci/devices/0000:03:00.0/resource", line: 10, row)
    try tree.writeConfig(0x10, [0x0c, 0, 0, 0, 0, 0, 0, 0])
    #expect(try device(tree).bar(0)?.bus == BusAddress(0))
  }

  @Test func `a driver and the other members of a group are found`() throws {
    let tree = try TemporaryTree("nvme,driver=nvme,group=3", "ivshmem,group=3,driver=vfio-pci")
    let device = try device(tree)
    #expect(device.driver == "nvme")
    let group = try #require(device.iommuGroup)
    #expect(group.members.map(\.address) == tree.addresses)
    #expect(group.members.map(\.driver) == ["nvme", "vfio-pci"])
    #expect(group.members.map(\.classCode) == [ClassCode(0x010802), ClassCode(0x050000)])
  }

  @Test func `a group is read once while many devices are looked at, and anew afterwards`() throws {
    let tree = try TemporaryTree("nvme,group=3", "ivshmem,group=3")
    let devices = DeviceTree(root: tree.root)
    func drivers() throws -> [String?] {
      try tree.addresses.map { try devices.device(at: $0).iommuGroup?.members.last?.driver }
    }
    try tree.write("/bus/pci/drivers/x/name", "")
    let start = ContinuousClock.now
    try devices.readingSharedOnce {
      #expect(try drivers() == [nil, nil])
      try tree.link(
        "/devices/pci0000:00/\(tree.addresses[1])/driver", to: "../../../bus/pci/drivers/x")
      let known = try drivers()
      // It is read again after a second.
      if .now - start < .seconds(1) { #expect(known == [nil, nil]) }
      // All else of the device itself is read, and a list is made anew.
      #expect(try devices.device(at: tree.addresses[1]).driver == "x")
      #expect(try devices.list().devices.map { $0.iommuGroup?.members.last?.driver } == ["x", "x"])
    }
    #expect(try drivers() == ["x", "x"])
  }

  @Test func `a device below a bridge in a hot-plug slot sits in the slot`() throws {
    let tree = try TemporaryTree("memory,address=0000:05:00.0")
    try tree.write("/bus/pci/slots/7/address", "0000:03:00\n")
    try tree.write("/bus/pci/slots/7/power", "1\n")
    #expect(try device(tree).hotplugSlot == nil)
    // As on a real machine: the device's directory lies in its bridge's.
    try tree.move(
      "/devices/pci0000:00/0000:05:00.0", to: "/devices/pci0000:00/0000:03:00.0/0000:05:00.0")
    try tree.link(
      "/bus/pci/devices/0000:05:00.0",
      to: "../../../devices/pci0000:00/0000:03:00.0/0000:05:00.0")
    #expect(try device(tree).hotplugSlot == "7")
  }

  @Test func `a slot that is a whole bus holds every device of it`() throws {
    let tree = try TemporaryTree("memory,address=0000:05:03.0")
    try tree.write("/bus/pci/slots/9/address", "0000:05\n")
    #expect(try device(tree).hotplugSlot == nil, "without `power` a slot is not for hot-plugging")
    try tree.write("/bus/pci/slots/9/power", "1\n")
    #expect(try device(tree).hotplugSlot == "9")
  }

  @Test func `devices are listed by address, and a bad one does not hide the others`() throws {
    let tree = try TemporaryTree(
      "memory,address=0000:03:00.0", "nvme,address=0000:01:00.0", "ivshmem,address=0000:02:00.0")
    try tree.write("vendor", "nonsense\n")
    try tree.link("/bus/pci/devices/0000:09:00.0", to: "../../../devices/nowhere")
    try tree.write("/bus/pci/devices/README", "\n")
    let listing = try DeviceTree(root: tree.root).list()
    #expect(listing.devices.map(\.address.description) == ["0000:01:00.0", "0000:02:00.0"])
    #expect(listing.unreadable.map(\.name) == ["0000:03:00.0", "0000:09:00.0", "README"])
    #expect(
      listing.unreadable[0].cause.description.hasSuffix(
        "/vendor:1: \"nonsense\" is not a 16-bit number"))
  }

  @Test func `an address without a device is an error that says so`() throws {
    let tree = try TemporaryTree("memory")
    let error = try #require(throws: DeviceError.self) {
      try DeviceTree(root: tree.root).device(at: #require(PCIAddress("0000:77:00.0")))
    }
    #expect(error.description.hasPrefix("find 0000:77:00.0: no such PCI device"))
    #expect(error.errno == Errno(rawValue: 19))
  }

  @Test func `a root without a PCI bus is an error that names the directory`() throws {
    let error = try #require(throws: DeviceError.self) {
      try DeviceTree(root: SysfsRoot("/nowhere")).list()
    }
    #expect(error.description == "open /nowhere/bus/pci/devices: no such file or directory")
  }

  @Test(.enabled(if: SysfsRoot.hasPCI, "this machine shows no PCI bus"))
  func `this machine's own devices can be listed`() throws {
    // Only reads.
    let listing = try DeviceTree(root: SysfsRoot("/sys")).list()
    #expect(listing.unreadable == [])
  }
}

extension SysfsRoot {
  /// Whether the machine that runs the tests has a PCI bus at all.
  static var hasPCI: Bool {
    (try? SysfsRoot("/sys")["bus/pci/devices"].exists()) == true
  }
}
