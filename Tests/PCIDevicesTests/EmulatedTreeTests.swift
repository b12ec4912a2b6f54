import DeviceEmulation
import DeviceFixtures
import GenPool
import Glibc
import PCIDevices
import SystemPackage
import Testing

@Suite struct EmulatedTreeTests {
  /// Calls `body` with a directory that is gone afterwards.
  private func inDirectory(_ body: (FilePath) throws -> Void) throws {
    let path = try TemporaryTree.makeDirectory()
    defer { TemporaryTree.removeAll(path) }
    try body(path)
  }

  private func entries(_ path: FilePath) throws -> [String] {
    try SysfsNode(path: path.string).entries()
  }

  private func size(_ path: FilePath) throws -> Int {
    try Int(Stat(path).size)
  }

  @Test func `a tree is made in a new directory, an empty one, or a tree`() throws {
    try inDirectory { path in
      let device = try EmulatedDevice.parse("memory")
      try EmulatedTree.create(at: path, devices: [])
      let tree = try EmulatedTree.create(at: path, devices: [device, device])
      #expect(try DeviceTree(root: tree.root).list().devices.count == 2)
      let other = try EmulatedTree.create(at: path.appending("new"), devices: [device])
      #expect(try DeviceTree(root: other.root).list().devices.count == 1)
      _ = try EmulatedTree(opening: path)
    }
  }

  @Test func `somebody's directory is not written into`() throws {
    try inDirectory { path in
      try FileDescriptor.open(
        path.appending("precious"), .writeOnly, options: .create,
        permissions: FilePermissions(rawValue: 0o600)
      ).close()
      let error = try #require(throws: EmulationError.self) {
        try EmulatedTree.create(at: path, devices: [])
      }
      #expect(
        error.description == "emulate \(path): the directory is not empty and no emulated tree")
      #expect(throws: EmulationError.self) { try EmulatedTree(opening: path) }
      #expect(try entries(path) == ["precious"])
    }
  }

  @Test func `a tree that a link leads to is removed, and its directory stays, empty`() throws {
    try inDirectory { path in
      let device = try EmulatedDevice.parse("memory,address=0000:05:00.0")
      let (target, link) = (path.appending("target"), path.appending("link"))
      #expect(unsafe mkdir(target.string, 0o755) == 0)
      #expect(unsafe symlink("target", link.string) == 0)
      #expect(throws: EmulationError.self) {
        try EmulatedTree.create(at: link, devices: [device, device])
      }
      #expect(try entries(target) == [], "one that did not come to be")
      let tree = try EmulatedTree.create(at: link, devices: [device])
      #expect(try !entries(target).isEmpty)
      // A link that leads elsewhere by now changes nothing.
      #expect(unsafe unlink(link.string) == 0)
      try EmulatedTree.create(at: path.appending("other"), devices: [])
      #expect(unsafe symlink("other", link.string) == 0)
      tree.destroy()
      #expect(try entries(target) == [])
      #expect(try !entries(path.appending("other")).isEmpty)
    }
  }

  @Test func `a directory whose parent is missing is an error`() throws {
    try inDirectory { path in
      let error = try #require(throws: EmulationError.self) {
        try EmulatedTree.create(at: path.appending("a/b"), devices: [])
      }
      #expect(error.description == "make directory \(path)/a/b: no such file or directory")
    }
  }

  @Test func `when one of several devices fails nothing is left`() throws {
    try inDirectory { path in
      let root = path.appending("tree")
      let one = try EmulatedDevice.parse("nvme,cmb=1M,address=0000:05:00.0,group=1,driver=vfio-pci")
      #expect(throws: EmulationError.self) {
        try EmulatedTree.create(at: root, devices: [one, one])
      }
      #expect(try entries(path) == [])
      // What was there before stays.
      let tree = try EmulatedTree.create(at: root, devices: [one])
      let two = try EmulatedDevice.parse("ivshmem")
      #expect(throws: EmulationError.self) {
        try EmulatedTree.create(at: root, devices: [two, one])
      }
      #expect(try DeviceTree(root: tree.root).list().devices.map(\.identity) == [one.identity])
    }
  }

  @Test func `a device that finds no room leaves nothing behind`() throws {
    let tree = try TemporaryTree("memory")
    let identity = DeviceIdentity(vendor: 1, device: 2)
    let device = EmulatedDevice(
      identity: identity, subsystem: identity, classCode: ClassCode(0x058000),
      bars: [
        EmulatedBAR(index: 0, size: .mebibytes(1)), EmulatedBAR(index: 1, size: .gibibytes(2)),
      ])
    let error = try #require(throws: EmulationError.self) { try tree.tree.add(device) }
    #expect(error.description.contains("no room in the host bridge's window"))
    #expect(try entries(tree.root.path.appending(".staging")) == [])
    #expect(try entries(tree.root.path.appending("devices/pci0000:00")) == ["0000:01:00.0"])
  }

  @Test func `BARs lie where firmware would put them`() throws {
    let tree = try TemporaryTree(
      "nvme,cmb=64M", "ivshmem,size=16M", "memory,size=1G", "ivshmem,size=4K", "nvme,cmb=128M")
    let devices = try DeviceTree(root: tree.root).list().devices
    #expect(devices.map(\.address.bus) == [1, 2, 3, 4, 5])
    let ranges = devices.flatMap { $0.bars.compactMap(\.physical) }
    #expect(ranges.count == 9)
    for (number, range) in ranges.enumerated() {
      #expect(range.first.isAligned(to: range.size))
      for other in ranges[..<number] { #expect(!range.overlaps(other)) }
    }
  }

  @Test func `a device that is pulled out makes room for another`() throws {
    let tree = try TemporaryTree("memory,size=1M", "memory,size=1M,group=3,driver=vfio-pci")
    let devices = DeviceTree(root: tree.root)
    let second = try devices.device(at: tree.addresses[1])
    try tree.tree.remove(second.address)
    #expect(throws: DeviceError.self) { try devices.device(at: second.address) }
    #expect(try entries(tree.root.path.appending("kernel/iommu_groups/3/devices")) == [])
    #expect(
      try entries(tree.root.path.appending("bus/pci/drivers/vfio-pci")) == ["bind", "unbind"])
    #expect(throws: EmulationError.self) { try tree.tree.remove(second.address) }

    let third = try devices.device(at: tree.tree.add(EmulatedDevice.parse("memory,size=1M")))
    #expect(third.address == second.address)
    #expect(third.bar(0)?.physical == second.bar(0)?.physical)
  }

  @Test func `an address that is taken is refused`() throws {
    let tree = try TemporaryTree("memory,address=0000:01:00.0")
    let error = try #require(throws: EmulationError.self) {
      try tree.tree.add(EmulatedDevice.parse("memory,address=01:00.0"))
    }
    #expect(error.description == "emulate 0000:01:00.0: there is a device already")
  }

  @Test func `nothing is added to a tree whose addresses cannot be read`() throws {
    let tree = try TemporaryTree("memory")
    try tree.write("resource", "garbage\n")
    #expect(throws: EmulationError.self) { try tree.tree.add(EmulatedDevice.parse("memory")) }
  }

  @Test func `files are as the kernel's`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    #expect(try tree.read("config").count == 4096)
    #expect(
      try tree.text("resource").split(separator: "\n").map { $0.suffix(18) } == [
        "0x0000000000140204", "0x0000000000000000", "0x000000000014220c", "0x0000000000000000",
        "0x0000000000000000", "0x0000000000000000", "0x0000000000000000",
      ])
    #expect(try tree.text("driver_override") == "(null)")
    #expect(try tree.text("enable") == "0")
    #expect(try size(tree.path("resource0")) == 16384)
    #expect(try size(tree.path("resource2")) == 64 << 20)
    #expect(
      try Stat(tree.path("resource2")).inode == Stat(tree.path("resource2_wc")).inode,
      "two names of one file")
    #expect(
      try Stat(tree.path("resource2")).blocksAllocated == 0,
      "a BAR costs nothing until it is written")
    // The registers lie at the start of BAR 0.
    #expect(try tree.read("resource0")[0x3c..<0x40] == [0x1d, 0x02, 0x04, 0x00])
  }

  @Test func `devices plugged in and out by several at a time do not get mixed up`() async throws {
    let tree = try TemporaryTree("memory,size=4K")
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<4 {
        group.addTask {
          for _ in 0..<5 {
            let address = try tree.tree.add(EmulatedDevice.parse("ivshmem,size=64K,group=1"))
            try tree.tree.remove(address)
            try tree.tree.add(EmulatedDevice.parse("memory,size=64K,group=2"))
          }
        }
      }
      try await group.waitForAll()
    }
    let listing = try DeviceTree(root: tree.root).list()
    #expect(listing.unreadable == [] && listing.devices.count == 21)
    let ranges = listing.devices.flatMap { $0.bars.compactMap(\.physical) }
    for (number, range) in ranges.enumerated() {
      #expect(!ranges[..<number].contains { $0.overlaps(range) })
    }
  }
}
