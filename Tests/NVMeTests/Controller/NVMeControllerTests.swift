import DeviceFixtures
import DeviceMemory
import DeviceSources
import GenPool
import NVMe
import PCIDevices
import Synchronization
import SystemPackage
import Testing

/// Controllers whose registers are files: they cannot answer, but keep what is written.
@Suite struct NVMeControllerTests {
  /// A 32-bit register of the first device.
  private func register(_ offset: Int, in tree: TemporaryTree) throws -> UInt32 {
    let bytes = try tree.read("resource0")
    return (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << (8 * UInt32($1)) }
  }

  private func setRegister(_ offset: Int, _ value: UInt32, in tree: TemporaryTree) throws {
    let file = try FileDescriptor.open(tree.path("resource0"), .writeOnly)
    try file.closeAfter {
      let bytes = (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * UInt32($0))) }
      _ = try file.writeAll(toAbsoluteOffset: Int64(offset), bytes)
    }
  }

  @Test func `a buffer is enabled at its bus address while it is open, and only then`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M,bus-offset=0x40000000")
    do {
      let controller = try NVMeController(
        at: tree.address, source: SysfsSource(root: tree.root))
      let opened = try controller.open(.buffer)
      #expect(opened.memory.size == .mebibytes(1))
      let addresses = (opened.range.bus, opened.range.physical)
      let (bus, physical) = try (#require(addresses.0), #require(addresses.1))
      #expect(bus.rawValue != physical.rawValue)
      #expect(try register(0x50, in: tree) == UInt32(truncatingIfNeeded: bus.rawValue) | 3)
      #expect(try register(0x54, in: tree) == UInt32(bus.rawValue >> 32))
      #expect(opened.range.label == "the controller memory buffer of \(tree.address)")
    }
    #expect(try register(0x50, in: tree) == 0)
    #expect(try tree.text("driver_override") == "(null)")
  }

  @Test func `the memory keeps the controller's registers open`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let source = SysfsSource(root: tree.root)
    let range = try NVMeController(at: tree.address, source: source)
      .open(.buffer).intoRange()
    #expect(throws: DeviceError.self) {
      _ = try NVMeController(at: tree.address, source: source)
    }
    #expect(try register(0x50, in: tree) & 2 == 2)
    _ = range.size
  }

  @Test func `a hidden buffer's registers are asked for and hidden again`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let controller = try NVMeController(at: tree.address, source: SysfsSource(root: tree.root))
    #expect(try controller.revealedState().bufferControl?.showsRegisters == true)
    #expect(try register(0x50, in: tree) == 0)
  }

  @Test func `a buffer of the 1.2 scheme needs no enabling, and its controller is not written to`()
    throws
  {
    let tree = try TemporaryTree("nvme,cmb=1M")
    try setRegister(4, register(4, in: tree) & ~(1 << 25), in: tree)
    try setRegister(0x50, 0xdead_0000, in: tree)
    let opened = try NVMeController(at: tree.address, source: SysfsSource(root: tree.root))
      .open(.buffer)
    #expect(opened.memory.size == .mebibytes(1))
    #expect(try register(0x50, in: tree) == 0xdead_0000)
  }

  @Test func `a buffer at an offset is opened there, and clipped to its BAR`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    // Units of 64 KiB: from 4 units on, 32 units long, of which 12 are in the BAR.
    try setRegister(0x38, 4 << 12 | 2, in: tree)
    try setRegister(0x3c, 32 << 12 | 1 << 8 | 0x1f, in: tree)
    let opened = try NVMeController(at: tree.address, source: SysfsSource(root: tree.root))
      .open(.buffer)
    #expect(opened.range.mapOffset == .kibibytes(256))
    #expect(opened.range.size == .kibibytes(768))
    #expect(opened.memory.announced == .mebibytes(2))
  }

  @Test func `a buffer is memory whether its BAR is prefetchable or not`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    try tree.setNotPrefetchable()
    let opened = try NVMeController(at: tree.address, source: SysfsSource(root: tree.root))
      .open(.buffer)
    #expect(opened.range.size == .mebibytes(1))
  }

  @Test func `a buffer behind the registers in their BAR is opened`() throws {
    let tree = try TemporaryTree("nvme")
    // Units of 4 KiB: from the second on, two long.
    try setRegister(0x38, 2 << 12, in: tree)
    try setRegister(0x3c, 2 << 12 | 0x1f, in: tree)
    let opened = try NVMeController(at: tree.address, source: SysfsSource(root: tree.root))
      .open(.buffer)
    #expect(opened.range.mapOffset == .kibibytes(8) && opened.range.size == .kibibytes(8))
    // The registers were opened unasked; the buffer is asked for when it is opened.
    #expect(opened.range.witness == .fileLease && opened.range.witnessAtOpening == .free)
  }

  @Test(arguments: [0, 1] as [UInt32])
  func `a buffer that would be the registers is refused`(page: UInt32) throws {
    let tree = try TemporaryTree("nvme")
    try setRegister(0x38, page << 12, in: tree)
    try setRegister(0x3c, 2 << 12 | 0x1f, in: tree)
    let error = try #require(throws: DeviceError.self) {
      _ = try NVMeController(at: tree.address, source: SysfsSource(root: tree.root))
        .open(.buffer)
    }
    #expect(error.description.contains("[registers]"), "\(error)")
  }

  @Test func `a persistent memory region is told its bus address and stays enabled if it was`()
    throws
  {
    let tree = try TemporaryTree("nvme,pmr=1M")
    do {
      let opened = try NVMeController(at: tree.address, source: SysfsSource(root: tree.root))
        .open(.persistentRegion)
      let address = opened.range.bus
      let bus = try #require(address)
      #expect(opened.memory.kind == .persistentRegion)
      #expect(try register(0xe14, in: tree) == UInt32(truncatingIfNeeded: bus.rawValue) | 2)
      #expect(try register(0xe18, in: tree) == UInt32(bus.rawValue >> 32))
    }
    #expect(try register(0xe04, in: tree) == 1)
    #expect(try register(0xe14, in: tree) == 0)
  }

  @Test func `a region that does not become ready is an error after the time that it names`() throws
  {
    let tree = try TemporaryTree("nvme,pmr=1M")
    try setRegister(0xe04, 0, in: tree)
    try setRegister(0xe08, 1 << 8, in: tree)
    let controller = try NVMeController(at: tree.address, source: SysfsSource(root: tree.root))
    let error = try #require(throws: DeviceError.self) {
      _ = try controller.open(.persistentRegion)
    }
    #expect(error.errno == .timedOut)
    #expect(try register(0xe04, in: tree) == 0)
  }

  @Test func `a region that does not end is told of`() throws {
    let tree = try TemporaryTree("nvme,pmr=1M")
    // Not enabled, and what is behind a file never says that it is not ready.
    try setRegister(0xe04, 0, in: tree)
    let told = Mutex<[DeviceError]>([])
    do {
      let opened = try NVMeController(
        at: tree.address, source: SysfsSource(root: tree.root),
        report: { error in told.withLock { $0.append(error) } }
      ).open(.persistentRegion)
      #expect(try register(0xe04, in: tree) == 1)
      _ = opened.memory
    }
    #expect(try register(0xe04, in: tree) == 0)
    let texts = told.withLock { $0.map(\.description) }
    #expect(texts.count == 1)
    #expect(texts.first?.contains("disable the persistent memory region") == true, "\(texts)")
  }

  @Test func `a region whose medium fails is refused`() throws {
    let tree = try TemporaryTree("nvme,pmr=1M")
    try setRegister(0xe08, 3 << 9, in: tree)
    let controller = try NVMeController(at: tree.address, source: SysfsSource(root: tree.root))
    let error = try #require(throws: DeviceError.self) {
      _ = try controller.open(.persistentRegion)
    }
    #expect(error.description.contains("unreliable"))
  }

  @Test func `what is no controller, has a driver or does not answer is an error that says so`()
    throws
  {
    let other = try TemporaryTree("ivshmem")
    #expect(throws: DeviceError.notNVMe(other.address, ClassCode(0x050000))) {
      _ = try NVMeController(at: other.address, source: SysfsSource(root: other.root))
    }
    let driven = try TemporaryTree("nvme,cmb=1M,driver=nvme")
    let error = try #require(throws: DeviceError.self) {
      _ = try NVMeController(at: driven.address, source: SysfsSource(root: driven.root))
    }
    #expect(error.description.contains("driver nvme is bound"))
    let gone = try TemporaryTree("nvme,cmb=1M")
    for offset in stride(from: 0, to: 0x60, by: 4) { try setRegister(offset, .max, in: gone) }
    #expect(throws: DeviceError.noAnswer(gone.address)) {
      _ = try NVMeController(at: gone.address, source: SysfsSource(root: gone.root))
    }
  }

  @Test func `a controller without memory says so`() throws {
    let tree = try TemporaryTree("nvme")
    let controller = try NVMeController(at: tree.address, source: SysfsSource(root: tree.root))
    for kind in ControllerMemory.Kind.allCases {
      #expect(throws: DeviceError.absent(tree.address, memory: kind.words)) {
        _ = try controller.open(kind)
      }
    }
  }

  @Test func `a mapping to look at takes no stores`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let range = try SysfsSource(root: tree.root).open(
      BARRequest(device: tree.address, bar: 0, size: .kibibytes(4), contents: .registers))
    let mapping = try Mapping(mapping: range, access: .readOnly)
    #expect(try NVMeRegisters(reading: mapping).version.description == "1.3")
    let fault = try #require(throws: DeviceFault.self) {
      try mapping.store(1 as UInt32, at: 0x14)
    }
    #expect(fault.reason == .readOnly)
    #expect(try register(0x14, in: tree) == 0)
  }

  // MARK: What the kernel's driver says

  @Test(arguments: [
    ["cmbloc": "98\n", "cmbsz": "262685\n"], ["cmbloc": "0x62\n", "cmbsz": "0x4021d\n"],
    ["cmb": "cmbloc : x00000062\ncmbsz  : x0004021d\n"],
  ])
  func `attributes of all kernels are understood`(_ files: [String: String]) throws {
    let tree = try TemporaryTree("nvme,cmb=64M,driver=nvme")
    try tree.write("nvme/nvme3/model", "QEMU NVMe Ctrl                          \n")
    for (name, text) in files { try tree.write("nvme/nvme3/\(name)", text) }
    let found = try #require(
      try NVMeAttributes(of: tree.address, in: DeviceTree(root: tree.root)))
    #expect(found.name == "nvme3")
    #expect(found.model == "QEMU NVMe Ctrl")
    #expect(found.bufferLocation == 0x62 && found.bufferSize == 0x4021d)
    #expect(found.serial == nil)
  }

  @Test(arguments: ["cmbsz  : 12\n", "x", "cmbloc : xfffffffff\ncmbsz : x1\n", "\n"])
  func `attributes that make no sense are errors`(_ text: String) throws {
    let tree = try TemporaryTree("nvme,cmb=64M,driver=nvme")
    try tree.write("nvme/nvme0/cmb", text)
    #expect(throws: DeviceError.self) {
      _ = try NVMeAttributes(of: tree.address, in: DeviceTree(root: tree.root))
    }
  }

  @Test func `without a driver there are no attributes`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    #expect(try NVMeAttributes(of: tree.address, in: DeviceTree(root: tree.root)) == nil)
  }
}
