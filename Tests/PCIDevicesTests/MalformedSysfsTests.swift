import DeviceFixtures
import PCIDevices
import SystemPackage
import Testing

/// Files of a good device, broken one at a time.
@Suite struct MalformedSysfsTests {
  struct Damage: CustomTestStringConvertible, Sendable {
    /// What is broken, relative to the device's directory or, with `/`, to the root.
    let file: String
    /// How.
    let apply: @Sendable (TemporaryTree, String) throws -> Void
    /// How the error goes on after the file's path.
    let complaint: String

    init(
      _ file: String, _ complaint: String,
      _ apply: @escaping @Sendable (TemporaryTree, String) throws -> Void
    ) {
      self.file = file
      self.complaint = complaint
      self.apply = apply
    }

    /// A file with other text.
    init(_ file: String, text: String, _ complaint: String) {
      self.init(file, complaint) { try $0.write($1, text) }
    }

    var testDescription: String { "\(file)\(complaint)" }
  }

  static let damages: [Damage] = [
    // Gone.
    Damage("vendor", ": no such file or directory") { $0.remove($1) },
    Damage("device", ": no such file or directory") { $0.remove($1) },
    Damage("subsystem_device", ": no such file or directory") { $0.remove($1) },
    Damage("class", ": no such file or directory") { $0.remove($1) },
    Damage("resource", ": no such file or directory") { $0.remove($1) },
    Damage("config", ": no such file or directory") { $0.remove($1) },
    // Not what they are.
    Damage("vendor", ": it is not a regular file") { try $0.makeDirectory($1) },
    Damage("vendor", ": it is not a regular file") { try $0.makeFIFO($1) },
    Damage("vendor", ": too many levels of symbolic links") { try $0.link($1, to: "vendor") },
    Damage("driver", ": it is not a link") { try $0.makeDirectory($1) },
    Damage("driver", ": the link leads to \"..\", which has no name") { try $0.link($1, to: "..") },
    Damage("iommu_group", ": the link leads to \"y\", which is not a group's number") {
      try $0.link($1, to: "../x/y")
    },
    Damage("iommu_group", ": the link leads to \"bus\", which is not a group's number") {
      try $0.link($1, to: "../../../bus")
    },
    // Too little or too much.
    Damage("vendor", text: "", ": it has 0 lines, not 1"),
    Damage("vendor", text: "0x1b36\n0x1b36\n", ": it has 2 lines, not 1"),
    Damage(
      "vendor", text: String(repeating: "0", count: 5000),
      ": it is longer than 4096 bytes, which no attribute is"),
    Damage("config", ": it has 0 bytes, less than the header's 64") { try $0.write($1, "") },
    Damage("config", ": it has 63 bytes, less than the header's 64") {
      try $0.write($1, [UInt8](repeating: 0, count: 63))
    },
    Damage("resource", text: "0x0 0x0 0x0\n", ": it has 1 lines, not one for each of 6 BARs"),
    Damage("resource", text: String(repeating: "\n", count: 5000), ": it is longer than"),
    // Nonsense.
    Damage("vendor", text: "1b36\n", ":1: \"1b36\" is not a 16-bit number"),
    Damage("device", text: "0x10000\n", ":1: \"0x10000\" is not a 16-bit number"),
    Damage("device", text: "0x\n", ":1: \"0x\" is not a 16-bit number"),
    Damage("device", text: "0x10\r\n", ":1: \"0x10\u{fffd}\" is not a 16-bit number"),
    Damage("class", text: "0x1000000\n", ":1: \"0x1000000\" is not a class code"),
    Damage("revision", text: "0x100\n", ":1: \"0x100\" is not an 8-bit number"),
    Damage("numa_node", text: "-2\n", ":1: \"-2\" is not a node's number"),
    Damage("numa_node", text: "99999999999\n", ":1: \"99999999999\" is not a node's number"),
    Damage("power_state", text: "D4\n", ":1: \"D4\" is not a power state"),
    Damage("boot_vga", text: "yes\n", ":1: \"yes\" is not 0 or 1"),
    Damage("removable", text: "maybe\n", ":1: \"maybe\" is not fixed, removable or unknown"),
    Damage("resource", ":3: \"garbage\" is not three hexadecimal numbers") {
      try $0.write($1, line: 3, "garbage")
    },
    Damage(
      "resource", ":3: the range ends at 0x0000008000000000, before its start 0x0000008003ffffff"
    ) {
      try $0.write($1, line: 3, "0x0000008003ffffff 0x0000008000000000 0x000000000014220c")
    },
    Damage("config", ": BAR 2 holds 0xfffffffffffffff0; 64 MiB from there pass the end of the bus")
    {
      tree, _ in try tree.writeConfig(0x18, [0xfc] + [UInt8](repeating: 0xff, count: 7))
    },
    // Of the machine rather than the device.
    Damage("/bus/pci/slots/3/address", ":1: \"garbage\" is not the address of a slot") {
      try $0.write($1, "garbage\n")
      try $0.write("/bus/pci/slots/3/power", "1\n")
    },
    Damage("iommu_group/devices", ": not a directory") { tree, _ in
      try tree.write("/kernel/iommu_groups/7/devices", "")
      try tree.link("iommu_group", to: "../../../kernel/iommu_groups/7")
    },
    Damage("iommu_group/devices/0000:09:00.0/class", ": no such file or directory") { tree, _ in
      try tree.link("/kernel/iommu_groups/7/devices/0000:09:00.0", to: "../nowhere")
      try tree.link("iommu_group", to: "../../../kernel/iommu_groups/7")
    },
  ]

  @Test(arguments: damages)
  func `what is broken is a problem that names file and line, and refuses`(damage: Damage) throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    let whole = DeviceTree(root: tree.root)
    _ = try whole.device(at: tree.address)
    try damage.apply(tree, damage.file)
    let place = tree.path(damage.file).string + damage.complaint
    let device: Device
    do throws(DeviceError) {
      device = try whole.device(at: tree.address)
    } catch {
      // Without ids it is none, and what concerns all devices is told of once.
      #expect(error.description.contains(place), "\(error)")
      #expect(try whole.list().unreadable.map(\.cause).contains(error))
      return
    }
    let problem = try #require(device.problems.first)
    #expect(device.problems.count == 1 && problem.description.contains(place), "\(problem)")
    #expect(device.identity.description == "1b36:0010", "all else is known")
    // In a list it is where the good ones are.
    #expect(try whole.list().devices.map(\.problems) == [[problem]])
    let subject = try AttachRule.Subject(
      BARRequest(device: device.address, bar: 2), of: device, in: whole)
    #expect(AttachRule.refusals(of: subject).map(\.rule).contains("unreadable"))
  }

  @Test func `what older kernels and recordings lack is no problem`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M,group=7,driver=nvme")
    for name in ["revision", "power_state", "numa_node", "subsystem_vendor"] { tree.remove(name) }
    try tree.link("driver", to: "../../../../bus/pci/drivers/some_driver")
    let device = try DeviceTree(root: tree.root).device(at: tree.address)
    #expect(device.problems.isEmpty && device.driver == "some_driver")
    #expect(device.revision == 2 && device.subsystem?.description == "1af4:1100")
    try tree.link("iommu_group", to: "../../../kernel/iommu_groups/99")
    #expect(try DeviceTree(root: tree.root).device(at: tree.address).iommuGroup?.number == 99)
  }

  @Test func `a lockdown file that makes no sense is an error`() throws {
    let tree = try TemporaryTree("memory")
    for (text, state) in [
      ("[none] integrity confidentiality\n", Lockdown.none),
      ("none [integrity] confidentiality\n", .integrity),
      ("none integrity [confidentiality]\n", .confidentiality), ("none integrity\n", nil),
    ] as [(String, Lockdown?)] {
      try tree.write("/kernel/security/lockdown", text)
      #expect((try? DeviceTree(root: tree.root).lockdown()) == state)
    }
    tree.remove("/kernel/security")
    #expect(try DeviceTree(root: tree.root).lockdown() == Lockdown.none)
  }
}
