import DeviceEmulation
import DeviceFixtures
import GenPool
import PCIDevices
import SystemPackage
import Testing

/// The rules for VFIO, as far as they differ from those for sysfs.
@Suite struct VFIORuleTests {
  private static let good = "nvme,cmb=64M,group=1,driver=vfio-pci"

  private func rules(
    _ tree: TemporaryTree, bar: BAR.Index = 2, forced: DeviceIdentity? = nil
  ) throws -> [String] {
    let device = try DeviceTree(root: tree.root).device(at: tree.address)
    let subject = AttachRule.Subject(
      request: BARRequest(device: tree.address, bar: bar, forced: forced), device: device,
      lockdown: try DeviceTree(root: tree.root).lockdown())
    return AttachRule.refusals(of: subject, under: AttachRule.vfio).map(\.rule)
  }

  @Test func `a device of vfio-pci alone in its group may be opened`() throws {
    #expect(try rules(TemporaryTree(Self.good)).isEmpty)
  }

  @Test func `rule names are not given twice`() {
    let names = AttachRule.vfio.map(\.name)
    #expect(Set(names).count == names.count)
  }

  @Test func `what sysfs forbids and VFIO makes safe is allowed`() throws {
    let tree = try TemporaryTree(Self.good)
    try tree.write("power_state", "D3hot\n")
    try tree.write("removable", "removable\n")
    try tree.write("/kernel/security/lockdown", "none [integrity] confidentiality\n")
    tree.remove("resource2")
    #expect(try rules(tree).isEmpty)
  }

  @Test(arguments: [
    ("nvme,cmb=64M,driver=vfio-pci", "no-iommu-group"),
    ("nvme,cmb=64M,group=1", "not-vfio-pci"),
    ("nvme,cmb=64M,group=1,driver=nvme", "not-vfio-pci"),
    ("nvme,cmb=64M,group=1,driver=uio_pci_generic", "not-vfio-pci"),
  ])
  func `an owner other than vfio-pci is refused`(device: String, rule: String) throws {
    #expect(try rules(TemporaryTree(device)) == [rule])
  }

  @Test(arguments: [
    ("ivshmem,group=1", true), ("ivshmem,group=1,driver=vfio-pci", true),
    ("ivshmem,group=1,driver=pci-stub", true), ("ivshmem,group=2,driver=ivshmem", true),
    ("ivshmem,group=1,driver=uio_pci_generic", false), ("ivshmem,group=1,driver=ivshmem", false),
    ("ivshmem,group=1,driver=pcieport", false),
  ])
  func `the group is viable without foreign drivers`(other: String, isViable: Bool) throws {
    let tree = try TemporaryTree(Self.good, other)
    #expect(try rules(tree) == (isViable ? [] : ["group-not-viable"]))
  }

  @Test func `the kind of device is asked as for sysfs`() throws {
    for (name, text, rule) in [
      ("class", "0x030000\n", "display"), ("class", "0x060400\n", "bridge"),
      ("boot_vga", "1\n", "boot-vga"),
    ] {
      let tree = try TemporaryTree(Self.good)
      try tree.write(name, text)
      #expect(try rules(tree) == [rule])
    }
    let gone = try TemporaryTree(Self.good)
    try gone.writeConfig(0, [0xff, 0xff])
    #expect(try rules(gone) == ["no-response"])
    #expect(
      try rules(TemporaryTree(Self.good), forced: DeviceIdentity(vendor: 1, device: 1))
        == ["force-mismatch"])
  }

  @Test func `the BAR is asked as for sysfs`() throws {
    let tree = try TemporaryTree(Self.good)
    #expect(try rules(tree, bar: 4) == ["no-such-bar"])
    #expect(try rules(tree, bar: 0) == ["registers"])
    try tree.write(
      "resource", line: 3, "0x0000008000000000 0x00000080000007ff 0x000000000014220c")
    #expect(try rules(tree) == ["partial-page"])
  }
}

@Suite struct DeviceUseTests {
  /// A tree in which the device has a disk of two partitions, and a network interface.
  private func tree() throws -> TemporaryTree {
    let tree = try TemporaryTree("nvme")
    let place = "../../devices/pci0000:00/0000:00:04.0/\(tree.address)"
    for (name, number) in [("nvme0n1", "259:0"), ("nvme0n1p1", "259:1"), ("nvme0n1p2", "259:2")] {
      try tree.write("/block/\(name)/dev", number + "\n")
      try tree.makeDirectory("/block/\(name)/holders")
    }
    try tree.write(
      "/proc/self/mountinfo", "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n")
    try tree.write("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
    // Links that lead somewhere: their targets' files are what is read.
    for name in ["nvme0n1", "nvme0n1p1", "nvme0n1p2"] {
      let target = "\(place)/nvme/nvme0/\(name)"
      try tree.move(
        "/block/\(name)", to: "/devices/pci0000:00/0000:00:04.0/\(tree.address)/nvme/nvme0/\(name)")
      try tree.link("/class/block/\(name)", to: target)
    }
    try tree.write(
      "/devices/pci0000:00/0000:00:04.0/\(tree.address)/net/eth7/flags", "0x1002\n")
    try tree.link("/class/net/eth7", to: "\(place)/net/eth7")
    try tree.write("/class/net/bonding_masters", "\n")
    return tree
  }

  /// The uses of the first device, which a reading of all devices must find as well.
  private func uses(_ tree: TemporaryTree) throws -> [String] {
    let uses = try DeviceUse.all(of: tree.address, under: tree.root)
    #expect(Set(DeviceUses(under: tree.root)[tree.address]) == Set(uses))
    return uses.map(\.description)
  }

  @Test func `a disk that nobody uses is free`() throws {
    #expect(try uses(tree()).isEmpty)
  }

  @Test func `mounts are found by number and by name`() throws {
    let tree = try tree()
    try tree.write(
      "/proc/self/mountinfo",
      """
      22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
      31 22 259:1 / /srv rw,relatime shared:2 master:1 - ext4 /dev/root rw
      32 22 0:44 /sub /data rw - btrfs /dev/nvme0n1p2 rw,space_cache
      33 22 0:45 / /proc rw - proc proc rw

      """)
    #expect(
      try uses(tree) == ["nvme0n1p1 mounted on /srv", "nvme0n1p2 mounted on /data"])
  }

  @Test func `swap, holders and members of a btrfs are uses`() throws {
    let tree = try tree()
    try tree.write(
      "/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/nvme0n1p1  partition\t1\t0\t-2\n")
    try tree.makeDirectory("/class/block/nvme0n1p2/holders/dm-0")
    try tree.makeDirectory("/fs/btrfs/1234/devices/nvme0n1")
    try tree.makeDirectory("/fs/btrfs/features")
    #expect(
      try uses(tree) == [
        "nvme0n1 part of btrfs 1234", "nvme0n1p1 swap", "nvme0n1p2 part of dm-0",
      ])
  }

  @Test func `a namespace with several paths belongs to all of its controllers`() throws {
    let tree = try tree()
    for name in ["nvme0n1", "nvme0n1p1", "nvme0n1p2"] {
      tree.remove("/class/block/\(name)")
      try tree.move(
        "/devices/pci0000:00/0000:00:04.0/\(tree.address)/nvme/nvme0/\(name)",
        to: "/devices/virtual/nvme-subsystem/nvme-subsys0/\(name)")
      try tree.link(
        "/class/block/\(name)", to: "../../devices/virtual/nvme-subsystem/nvme-subsys0/\(name)")
    }
    try tree.link(
      "/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0",
      to: "../../../pci0000:00/0000:00:04.0/\(tree.address)/nvme/nvme0")
    try tree.link(
      "/class/nvme-subsystem/nvme-subsys0",
      to: "../../devices/virtual/nvme-subsystem/nvme-subsys0")
    try tree.makeDirectory("/class/block/nvme0n1/holders/md0")
    #expect(try uses(tree) == ["nvme0n1 part of md0"])
  }

  @Test func `a network interface counts while it is up`() throws {
    let tree = try tree()
    try tree.write(
      "/devices/pci0000:00/0000:00:04.0/\(tree.address)/net/eth7/flags", "0x1003\n")
    #expect(try uses(tree) == ["eth7 up"])
  }

  @Test func `a block device whose file does not say is not said to be free`() throws {
    let directory = try TemporaryTree.makeDirectory()
    defer { TemporaryTree.removeAll(directory) }
    let path = directory.appending("disk")
    let missing = try #require(
      DeviceUse.claim(on: "disk", number: "8:0", in: directory.string))
    #expect(
      missing.description
        == "whether disk is in use cannot be told: open \(path): no such file or directory")
    try FileDescriptor.open(path, .writeOnly, options: .create, permissions: .ownerReadWrite)
      .close()
    let file = try #require(DeviceUse.claim(on: "disk", number: "8:0", in: directory.string))
    #expect(file.description.contains("it is not device 8:0"))
  }

  @Test func `an emulated tree's disks are not looked for in /dev`() throws {
    #expect(try !tree().root.isMachines)
    #expect(SysfsRoot("/sys/").isMachines)
    #expect(SysfsRoot("/sys/bus/..").isMachines)
    #expect(!SysfsRoot("/nonexistent").isMachines)
  }

  @Test func `another device's use is not this one's`() throws {
    let tree = try tree()
    try tree.makeDirectory("/class/block/nvme0n1/holders/md0")
    let other = try tree.tree.add(EmulatedDevice.parse("nvme"))
    #expect(try DeviceUse.all(of: other, under: tree.root).isEmpty)
    #expect(DeviceUses(under: tree.root)[other].isEmpty)
  }

  @Test func `uses that cannot be read are not taken for none, of any device`() throws {
    let tree = try tree()
    try tree.write("/class/net/eth7/flags", "up\n")
    let flags = DeviceUses(under: tree.root)
    #expect(flags.failure == nil)
    #expect(flags[tree.address].first?.description.contains("whether eth7 is in use") == true)
    tree.remove("/proc/self")
    let uses = DeviceUses(under: tree.root)
    #expect(uses.failure != nil)
    #expect(uses[tree.address].contains { $0.description.contains("cannot be told") })
  }
}
