import DeviceEmulation
import DeviceFixtures
import GenPool
import NVMe
import PCIDevices
import SystemPackage
import Testing

@testable import genpoolctl

/// Controllers of all kinds, as `nvme show` has them, against a model: a plain function of the
/// registers or attributes.
@Suite struct NVMeVariantTests {
  /// The registers that matter, as a controller may have them.
  private struct Registers {
    var announcesBuffer = false, announcesRegion = false
    var version: UInt32 = 0x10400
    var location: UInt32 = 0, size: UInt32 = 0, control: UInt64 = 0
    var regionCapabilities: UInt32 = 0

    /// The first 4 KiB of BAR 0.
    var bytes: [UInt8] {
      var bytes = [UInt8](repeating: 0, count: 4096)
      func store(_ offset: Int, _ value: UInt64, _ count: Int) {
        for byte in 0..<count { bytes[offset + byte] = UInt8(value >> (8 * UInt64(byte)) & 0xff) }
      }
      store(0x00, 2047 | (announcesBuffer ? 1 << 57 : 0) | (announcesRegion ? 1 << 56 : 0), 8)
      store(0x08, UInt64(version), 4)
      store(0x38, UInt64(location), 4)
      store(0x3c, UInt64(size), 4)
      store(0x50, control, 8)
      store(0xe00, UInt64(regionCapabilities), 4)
      return bytes
    }
  }

  /// The answer for a memory: a place in a BAR, or that the registers make no sense.
  private enum Place: Equatable {
    case at(bar: Int, offset: UInt64, size: UInt64)
    case nonsense
  }

  /// The sizes of the BARs of the device below, by number.
  private static let bars: [Int: UInt64] = [0: 16 << 10, 2: 16 << 20, 4: 16 << 20]

  /// The model of a buffer: NVMe 1.4 sections 3.1.11 and 3.1.12, and CMBMSC.CRE.
  private static func buffer(_ registers: Registers) -> (presence: String, place: Place?) {
    let place = buffer(registers.location, registers.size)
    if place != nil { return ("present", place) }
    return (registers.announcesBuffer && registers.control % 2 == 0 ? "not-enabled" : "none", nil)
  }

  private static func buffer(_ location: UInt32, _ size: UInt32) -> Place? {
    if size >> 12 == 0 { return nil }
    let exponent = size >> 8 & 15
    guard exponent < 7, let bar = bars[Int(location & 7)] else { return .nonsense }
    var unit: UInt64 = 4096
    for _ in 0..<exponent { unit *= 16 }
    let offset = UInt64(location >> 12) * unit
    if offset >= bar { return .nonsense }
    return .at(
      bar: Int(location & 7), offset: offset, size: min(UInt64(size >> 12) * unit, bar - offset))
  }

  private static func places(_ document: NVMeDocument, _ kind: String) -> Place? {
    guard let memory = document.memories.first(where: { $0.kind == kind }) else { return nil }
    guard memory.problem == nil, let bar = memory.bar, let offset = memory.offset,
      let size = memory.size
    else { return .nonsense }
    return .at(bar: bar, offset: offset.rawValue, size: size.rawValue)
  }

  private static func survey(_ tree: TemporaryTree) throws -> NVMeSurvey {
    try NVMeSurvey(tree.address, in: DeviceTree(root: tree.root), allowed: [], isProbing: false)
  }

  private static let locations: [UInt32] = [
    0x0000_0002, 0x0000_2000, 0x0000_1062, 0x0000_0001, 0x0000_0003, 0x0000_0006, 0xffff_f004,
  ]
  private static let sizes: [UInt32] = [
    0, 0x0000_001d, 0x0000_0f1d, 0x0000_121d, 0x0000_2005, 0xffff_f51d, 0x0000_171d, 0xffff_ffff,
  ]

  @Test(arguments: ["", ",driver=uio_pci_generic", ",driver=pci-stub"])
  func `all registers are understood as the model has them, whatever leaves them alone`(
    driver: String
  ) throws {
    let tree = try TemporaryTree("nvme,cmb=16M,pmr=16M" + driver)
    var count = 0
    for version in [0x10200, 0x10300, 0x10400, 0x20000] as [UInt32] {
      for location in Self.locations {
        for size in Self.sizes {
          for bits in 0..<8 as Range<UInt64> {
            let registers = Registers(
              announcesBuffer: bits & 1 != 0, announcesRegion: bits & 2 != 0, version: version,
              location: location, size: size, control: bits >> 2,
              regionCapabilities: 4 << 5 | 3 << 3)
            // All without a driver and of version 1.4. A prime share of the rest, so that each value
            // meets each other one: driver and version must make no difference.
            count += 1
            guard driver.isEmpty && version == 0x10400 || count % 13 == 0 else { continue }
            // Not kept open: memory that another description reaches is waited for.
            let file = try FileDescriptor.open(tree.path("resource0"), .readWrite)
            try file.closeAfter {
              _ = try file.writeAll(toAbsoluteOffset: 0, registers.bytes)
            }
            let document = NVMeDocument(try Self.survey(tree))
            let expected = Self.buffer(registers)
            #expect(document.registers != nil, "\(document.unknown)")
            #expect(document.cmb == expected.presence, "\(registers)")
            #expect(Self.places(document, "cmb") == expected.place, "\(registers)")
            #expect(document.pmr == (registers.announcesRegion ? "present" : "none"))
            #expect(
              Self.places(document, "pmr")
                == (registers.announcesRegion ? .at(bar: 4, offset: 0, size: 16 << 20) : nil))
          }
        }
      }
    }
  }

  @Test func `a buffer that enabling would show is told from none`() throws {
    let tree = try TemporaryTree("nvme,cmb=16M")
    func text(_ registers: Registers) throws -> String {
      try tree.write("resource0", registers.bytes + [UInt8](repeating: 0, count: 12288))
      return try Self.survey(tree).text(DeviceNames())
        .replacing("\n", with: " ")
    }
    #expect(try text(Registers()).contains("has no memory of its own"))
    let hidden = try text(Registers(announcesBuffer: true))
    #expect(hidden.contains("The controller memory buffer is not enabled"))
    #expect(!hidden.contains("has no memory"))
    let empty = try text(Registers(announcesBuffer: true, control: 1))
    #expect(empty.contains("has no memory of its own. It announces a controller memory buffer"))
  }

  /// What a driver may show of a controller, and the model's answer.
  private static let attributes: [(files: [String: String], presence: String, place: Place?)] = [
    ([:], "unknown", nil),
    (["cmbloc": "2", "cmbsz": "66077"], "present", .at(bar: 2, offset: 0, size: 16 << 20)),
    (["cmbloc": "0x2", "cmbsz": "0x1021d"], "present", .at(bar: 2, offset: 0, size: 16 << 20)),
    (
      ["cmb": "cmbloc : x00001062\ncmbsz  : x0000421d"], "present",
      .at(bar: 2, offset: 1 << 20, size: 4 << 20)
    ),
    (["cmbloc": "3", "cmbsz": "0x1021d"], "present", .nonsense),
    (["cmbloc": "2", "cmbsz": "0"], "none", nil), (["cmbloc": "2"], "unknown", nil),
    (["cmbsz": "0x1021d"], "present", nil),
  ]

  @Test func `a controller that its driver has is known by the driver's attributes`() throws {
    for (files, presence, place) in Self.attributes {
      let tree = try TemporaryTree("nvme,cmb=16M,driver=nvme")
      try tree.write("nvme/nvme0/state", "live\n")
      for (name, text) in files { try tree.write("nvme/nvme0/\(name)", text + "\n") }
      let survey = try Self.survey(tree)
      let document = NVMeDocument(survey)
      #expect(document.name == "nvme0" && document.registers == nil)
      #expect(document.cmb == presence && document.pmr == "unknown", "\(files)")
      #expect(Self.places(document, "cmb") == place, "\(files)")
      #expect(document.unknown.first?.contains("registers were not touched") == true)
    }
  }

  @Test func `it is said why nothing can be read`() throws {
    for (driver, change, reason) in [
      ("nvme", nil, "there is no directory 0000:01:00.0/nvme"),
      ("other", nil, "Driver other uses the controller"),
      ("nvme", ("nvme/nvme0/cmbsz", "many\n"), "\"many\" is not a register of 32 bits"),
      ("", ("power_state", "D3hot\n"), "power state D3hot"),
    ] as [(String, (String, String)?, String)] {
      let tree = try TemporaryTree("nvme,cmb=16M" + (driver.isEmpty ? "" : ",driver=\(driver)"))
      if let change { try tree.write(change.0, change.1) }
      let survey = try Self.survey(tree)
      #expect(survey.registers == nil && survey.attributes == nil)
      #expect(survey.unknown.count == 1)
      #expect(survey.unknown.first?.contains(reason) == true, "\(survey.unknown)")
      #expect(survey.presence(of: .buffer) == .unknown)
      #expect(!survey.text(DeviceNames()).contains("no memory of its own"))
    }
  }

  @Test func `a controller is told from what only looks like one`() throws {
    for (code, vendor, reason) in [
      ("0x018002", "0x106b", "it is Apple's storage controller (class 0x018002)"),
      ("0x018002", "0x1b36", "it is no NVMe controller (class 0x018002, not 0x010802)"),
      ("0x010803", "0x1b36", "it is no NVMe controller (class 0x010803, not 0x010802)"),
      ("0x020000", "0x1b36", "it is no NVMe controller (class 0x020000, not 0x010802)"),
    ] {
      let tree = try TemporaryTree("nvme,cmb=16M")
      try tree.write("class", code + "\n")
      try tree.write("vendor", vendor + "\n")
      let failure = #expect(throws: Failure.self) { try Self.survey(tree) }
      #expect(failure?.message.contains(reason) == true, "\(failure?.message ?? "")")
    }
  }

  // MARK: Names

  @Test func `a controller is found by the kernel's names of it and of its namespaces`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M", "nvme,cmb=1M")
    let devices = DeviceTree(root: tree.root)
    func controller(_ number: Int) -> String {
      "../../devices/pci0000:00/\(tree.addresses[number])/nvme/nvme\(number)"
    }
    for number in 0..<2 {
      try tree.link("/class/nvme/nvme\(number)", to: controller(number))
      try tree.link("/class/block/nvme\(number)n1", to: controller(number) + "/nvme\(number)n1")
      try tree.link(
        "/class/block/nvme\(number)n1p3",
        to: controller(number) + "/nvme\(number)n1/nvme\(number)n1p3")
      try tree.link("/class/nvme-generic/ng\(number)n1", to: controller(number) + "/ng\(number)n1")
      for name in ["nvme%", "/dev/nvme%", "/dev/nvme%n1", "nvme%n1p3", "/dev/ng%n1"] {
        let name = name.replacing("%", with: "\(number)")
        #expect(try ControllerName(name)?.address(in: devices) == tree.addresses[number], "\(name)")
      }
    }
    #expect(try ControllerName("01:00.0")?.address(in: devices) == tree.addresses[0])
  }

  @Test func `with multipath a namespace leads to the one controller of its subsystem`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M", "nvme,cmb=1M")
    let devices = DeviceTree(root: tree.root)
    let subsystem = "/devices/virtual/nvme-subsystem/nvme-subsys0"
    try tree.link("/class/nvme-subsystem/nvme-subsys0", to: "../.." + subsystem)
    // Its number is the subsystem's, not the controller's.
    try tree.link("/class/block/nvme0n1", to: "../..\(subsystem)/nvme0n1")
    try tree.link("\(subsystem)/nvme1", to: "../../../pci0000:00/\(tree.addresses[1])/nvme/nvme1")
    #expect(try ControllerName("nvme0n1")?.address(in: devices) == tree.addresses[1])
    try tree.link("\(subsystem)/nvme0", to: "../../../pci0000:00/\(tree.addresses[0])/nvme/nvme0")
    let two = #expect(throws: DeviceError.self) {
      try ControllerName("nvme0n1")?.address(in: devices)
    }
    #expect(two?.description.contains("several controllers lead to it: nvme0 (") == true)
    try tree.link("/class/nvme/nvme7", to: "../../devices/virtual/nvme-fabrics/ctl/nvme7")
    let fabrics = #expect(throws: DeviceError.self) {
      try ControllerName("nvme7")?.address(in: devices)
    }
    #expect(fabrics?.description.contains("it is no PCI device") == true)
    let absent = #expect(throws: DeviceError.self) {
      try ControllerName("/dev/nvme9")?.address(in: devices)
    }
    #expect(absent?.errno.rawValue == 19)
  }

  @Test(arguments: [
    "", "nvme", "nvmeX", "nvme0x", "nvme0n", "nvme0n1p", "nvme1p1n1", "/dev/sda", "/dev/", "sda",
    "nvme0/..", "../nvme0", "nvme0000000000", "01:00", "nvme0n1n1", "ng", "n0",
  ])
  func `other names are no controller's`(name: String) {
    #expect(ControllerName(name) == nil)
  }

  // MARK: device show

  private static func shown(_ tree: TemporaryTree) throws -> String {
    let devices = DeviceTree(root: tree.root)
    let device = try devices.device(at: tree.address)
    let verdict = try #require(try DeviceList.verdicts(on: [device], in: devices).first)
    return DeviceShow.text(of: device, verdict, [], AttachedPools(of: tree.address), DeviceNames())
  }

  @Test func `the memory of a virtual function is on, though its own bit is 0`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    #expect(try Self.shown(tree).contains("off; attaching switches it on"))
    try tree.link("physfn", to: "../0000:02:00.0")
    #expect(try !Self.shown(tree).contains("off"))
    #expect(try DeviceTree(root: tree.root).device(at: tree.address).isMemoryEnabled)
  }

  @Test func `BARs of I O ports, and devices without BARs, are said to be so`() throws {
    var device = EmulatedDevice.memory(
      size: .mebibytes(1), identity: DeviceIdentity(vendor: 0x1b36, device: 5))
    device.bars.append(EmulatedBAR(index: 3, kind: .io, size: 256))
    let tree = try TemporaryTree([device])
    #expect(try Self.shown(tree).contains("I/O ports, without an address in memory"))
    try tree.write(
      "resource",
      String(repeating: "0x0000000000000000 0x0000000000000000 0x0000000000000000\n", count: 7))
    let bare = try Self.shown(tree)
    #expect(bare.contains("The device has no BARs") && !bare.contains("I/O ports"))
  }
}
