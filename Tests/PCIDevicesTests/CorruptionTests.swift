import DeviceFixtures
import GenPool
import PCIDevices
import Reference
import Testing

/// Trees that are damaged at random. Whatever happens, nothing traps, and every answer is either a
/// device that keeps its promises or an error.
@Suite struct CorruptionTests {
  /// What the damage may hit: all that is read of a device and of the machine.
  private static let files = [
    "vendor", "device", "subsystem_vendor", "subsystem_device", "class", "revision", "resource",
    "config", "resource0", "resource2", "resource2_wc", "numa_node", "power_state", "removable",
    "driver", "iommu_group", "boot_vga", "physfn", "/kernel/security/lockdown",
    "/bus/pci/slots/1/address", "/bus/pci/slots/1/power", "/kernel/iommu_groups/7/devices",
    "/kernel/iommu_groups/7/devices/0000:01:00.0",
  ]

  /// Texts that parsers trip over.
  private static let texts = [
    "", "\n", "\n\n", "0", "-1", "0x", "0xffffffffffffffff\n", "0x10000000000000000\n",
    "18446744073709551616\n", "9223372036854775807\n", "D0\n", "\u{0}", "0x1af4\u{0}\n", "é\n",
    "0000:01:00\n", "0000:ff\n", ":::\n", "[none]\n", "[]\n", "yes\n",
    "0xffffffffffffffff 0xffffffffffffffff 0xffffffffffffffff\n",
    "0x0 0xffffffffffffffff 0x200\n0x1 0x0 0x200\n", String(repeating: "0", count: 4096),
    String(repeating: "0x0 0x0 0x0\n", count: 6), String(repeating: "a\n", count: 4000),
  ]

  @Test(arguments: 0..<16 as Range<UInt64>)
  func `no damage to a tree traps`(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    for round in 0..<80 {
      let tree = try TemporaryTree("nvme,cmb=1M,group=7,removable=no,driver=vfio-pci")
      for _ in 0..<Int.random(in: 1...5, using: &random) { damage(tree, using: &random) }
      let devices = DeviceTree(root: tree.root)
      let note: Comment = "seed \(seed), round \(round)"
      if let device = try? devices.device(at: tree.address) { check(device, note) }
      if let listing = try? devices.list() {
        for device in listing.devices { check(device, note) }
        for bad in listing.unreadable { #expect(!bad.cause.description.isEmpty, note) }
      }
      _ = try? devices.lockdown()
    }
  }

  /// Does one thing to one file, or nothing where an earlier damage is in the way.
  private func damage(_ tree: TemporaryTree, using random: inout SplitMix64) {
    guard let file = Self.files.randomElement(using: &random),
      let text = Self.texts.randomElement(using: &random)
    else { return }
    switch Int.random(in: 0..<8, using: &random) {
    case 0: tree.remove(file)
    case 1: try? tree.write(file, text)
    case 2:
      let count = Int.random(in: 0...5000, using: &random)
      try? tree.write(file, (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) })
    case 3: try? tree.makeDirectory(file)
    case 4: try? tree.makeFIFO(file)
    case 5:
      try? tree.link(file, to: ["nowhere", "..", ".", file].randomElement(using: &random) ?? "")
    default:
      // A few bytes of what is there.
      guard var content = try? tree.read(file), !content.isEmpty else { return }
      for _ in 0..<Int.random(in: 1...8, using: &random) {
        let place = Int.random(in: 0..<min(content.count, 512), using: &random)
        content[place] = UInt8.random(in: 0...255, using: &random)
      }
      try? tree.write(file, content)
    }
  }

  /// Asks a device all that one can ask it.
  private func check(_ device: Device, _ note: Comment) {
    _ = device.description + device.bars.map(\.description).joined()
    for bar in device.bars {
      if let physical = bar.physical { #expect(physical.size == bar.size, note) }
      if let bus = bar.bus { #expect(AddressRange(start: bus, size: bar.size) != nil, note) }
    }
    for index in BAR.Index.allCases {
      for naming in [BARRequest.Naming.byAddress, .bySearch] {
        let request = BARRequest(device: device.address, bar: index, naming: naming)
        let subject = AttachRule.Subject(request: request, device: device, lockdown: .none)
        for refusal in AttachRule.refusals(of: subject) { _ = refusal.description }
      }
    }
  }
}
