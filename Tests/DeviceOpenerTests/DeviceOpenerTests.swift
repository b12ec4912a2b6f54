import DeviceDMA
import DeviceEmulation
import DeviceFixtures
import DeviceMemory
import DeviceOpener
import GenPool
import LinuxSystem
import NVMe
import PCIDevices
import Testing

/// The one dispatch from a name to open memory, over emulated devices.
@Suite struct DeviceOpenerTests {
  private func id(_ tree: TemporaryTree, _ text: String) throws -> DeviceMemoryID {
    try #require(DeviceMemoryID("\(tree.address):\(text)"))
  }

  @Test func `each kind of memory is opened where it is`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M,pmr=2M")
    let opener = DeviceOpener(root: tree.root)
    let bar = try opener.open(id(tree, "2,offset=64K,size=128K"))
    #expect(bar.bar == 2 && bar.offset == .kibibytes(64) && bar.owner == nil)
    #expect(bar.range.size == .kibibytes(128))
    let region = try opener.open(id(tree, "pmr"))
    #expect(region.bar == 4 && region.owner?.device == tree.address)
    #expect(region.range.size == .mebibytes(2))
    #expect(throws: DeviceError.self) { _ = try opener.open(id(tree, "registers")) }
    #expect(try opener.controller(at: tree.address).address == tree.address)
  }

  @Test func `two parts of a buffer are open side by side, and the last one disables it`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let opener = DeviceOpener(root: tree.root)
    do {
      let first = try opener.open(id(tree, "cmb,size=256K"))
      let base = try #require({ first.range.bus }())
      do {
        let second = try opener.open(id(tree, "cmb,offset=512K"))
        #expect(second.range.bus == base + .kibibytes(512))
        #expect(second.range.size == .kibibytes(512) && second.offset == .kibibytes(512))
        #expect(try tree.read("resource0")[0x50] == 3)
      }
      #expect(try tree.read("resource0")[0x50] == 3, "the first part is open yet")
      #expect(throws: DeviceError.self) { _ = try opener.open(id(tree, "cmb,size=4K")) }
      #expect(throws: DeviceError.self) { _ = try opener.open(id(tree, "cmb,offset=1M")) }
      #expect(throws: DeviceError.self) {
        _ = try opener.open(id(tree, "cmb,offset=512K,size=1M"))
      }
      _ = first.bar
    }
    #expect(try tree.read("resource0")[0x50] == 0)
  }

  @Test func `a controller is opened once while it is used, and anew after it`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M,pmr=1M")
    let opener = DeviceOpener(root: tree.root)
    let open = try opener.controller(at: tree.address)
    #expect(try opener.controller(at: tree.address) === open)
    let buffer = try opener.open(id(tree, "cmb"))
    let region = try opener.open(id(tree, "pmr"))
    #expect(buffer.bar == 2 && region.bar == 4)
  }

  @Test func `a controller that was pulled out is not the one plugged in at its address`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let opener = DeviceOpener(root: tree.root)
    var old: NVMeController? = try opener.controller(at: tree.address)
    try tree.tree.remove(tree.address)
    #expect(throws: DeviceError.self) { _ = try opener.controller(at: tree.address) }
    _ = try tree.tree.add(.parse("nvme,cmb=2M,address=\(tree.address)"))
    // The old one's registers are open yet: neither they nor the new one's are given out.
    let error = try #require(throws: DeviceError.self) {
      _ = try opener.controller(at: tree.address)
    }
    #expect(error.description.contains("another device was plugged in"), "\(error)")
    withExtendedLifetime(old) {}
    old = nil
    #expect(try opener.open(id(tree, "cmb")).range.size == .mebibytes(2))
  }

  @Test func `a persistent region is spared unless its loss was agreed to`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M,pmr=1M")
    let opener = DeviceOpener(root: tree.root)
    let careful = OpeningOptions(protectsPersistent: true)
    for memory in ["pmr", "pmr,offset=4K", "4", "4,size=4K"] {
      let error = try #require(throws: DeviceError.self) {
        _ = try opener.open(id(tree, memory), careful)
      }
      guard case .refused(_, let refusals) = error else { throw error }
      #expect(refusals.map(\.rule) == ["persistent"])
    }
    #expect(try opener.open(id(tree, "cmb"), careful).bar == 2)
    #expect(try opener.open(id(tree, "pmr")).bar == 4)
  }

  @Test func `a driver's memory is pooled with its owner's rules`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let memory = DriverMemory(
      initiator: tree.address, opener: DeviceOpener(root: tree.root))
    let pool = try memory.pool(of: .device(id(tree, "cmb"), mayErase: false))
    #expect(try memory.pool(of: .device(id(tree, "cmb"), mayErase: false)) === pool)
    #expect(pool.memories.first?.owner == tree.address)
  }
}

/// Texts that name device memory, one grammar for every program.
@Suite struct DeviceMemoryIDTests {
  @Test(arguments: [
    "0000:01:00.0:2", "0000:01:00.0:cmb", "10000:01:00.0:pmr", "0000:01:00.0:registers",
    "0000:01:00.0:2,offset=4096,size=1048576", "0000:01:00.0:cmb,offset=65536",
  ])
  func `a name is printed as it is read`(_ text: String) {
    #expect(DeviceMemoryID(text)?.description == text)
  }

  @Test(arguments: [
    ("01:00.0:2", "0000:01:00.0:2"), ("0000:01:00.0:bar2", "0000:01:00.0:2"),
    ("01:00.0:cmb,size=1M,offset=0x1000", "0000:01:00.0:cmb,offset=4096,size=1048576"),
  ])
  func `accepted spellings mean the same`(_ text: String, _ canonical: String) {
    #expect(DeviceMemoryID(text)?.description == canonical)
  }

  @Test(arguments: [
    "", "2", ":2", "0000:01:00.0", "0000:01:00.0:", "0000:01:00.0:6", "0000:01:00.0:bar",
    "0000:01:00.0:bar6", "0000:01:00.0:CMB", "cmb:0000:01:00.0", "0000:01:00.0:+2",
    "0000:01:00.0:02", "0000:01:00.0:2,size=", "0000:01:00.0:2,size=1,size=2",
    "0000:01:00.0:2,name=x", "0000:01:00.0:2,", "disk:0000:01:00.0",
  ])
  func `any other text is no name`(_ text: String) {
    #expect(DeviceMemoryID(text) == nil)
  }

  @Test(arguments: [
    "host", "0000:01:00.0:cmb", "0000:01:00.0:pmr,erase=yes", "0000:01:00.0:2,offset=4096",
  ])
  func `a choice of memory is printed as it is read`(_ text: String) {
    #expect(MemoryChoice(text)?.description == text)
  }

  @Test(arguments: [
    "", "Host", "host,erase=yes", "cmb", "0000:01:00.0:registers", "0000:01:00.0:pmr,erase=no",
    "cmb:0000:01:00.0", "0000:01:00.0",
  ])
  func `any other text is no choice of memory`(_ text: String) {
    #expect(MemoryChoice(text) == nil)
  }
}
