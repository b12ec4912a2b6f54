import DeviceEmulation
import DeviceFixtures
import DeviceMemory
import DeviceSources
import GenPool
import Glibc
import LinuxSystem
import PCIDevices
import SystemPackage
import Testing

/// Who may use a BAR at the same time as whom.
@Suite struct SharingTests {
  private func request(_ tree: TemporaryTree, _ pages: ClosedRange<UInt64>? = nil) -> BARRequest {
    guard let pages else { return BARRequest(device: tree.address, bar: 2) }
    return BARRequest(
      device: tree.address, bar: 2, offset: .kibibytes(4 * pages.lowerBound),
      size: .kibibytes(4 * (pages.upperBound - pages.lowerBound + 1)))
  }

  private func expectBusy(_ source: SysfsSource, _ request: BARRequest) throws {
    let error = try #require(throws: DeviceError.self) { _ = try source.open(request) }
    #expect(error.errno == .resourceBusy || error.errno == .wouldBlock)
    #expect(error.description.hasPrefix("lock BAR 2 of 0000:01:00.0: "), "\(error)")
    #expect(
      error.description.contains("another genpool process has it open")
        || error.description.contains("a process has it open, or still maps memory of it"))
  }

  @Test(arguments: [
    "0x0000009000000000 0x00000090000fffff 0x000000000014220c",
    "0x0000008000000000 0x00000080001fffff 0x000000000014220c",
    "0x0000000000000000 0x00000000000fffff 0x000000002014220c", "nonsense",
  ])
  func `a BAR that was moved or resized is not where it was`(row: String) throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let source = SysfsSource(root: tree.root)
    let range = try source.open(request(tree))
    let before = try String(tree.text("resource").split(separator: "\n")[2])
    #expect(range.lender?.presence() == .inPlace && source.isPresent(tree.address))
    try tree.write("resource", line: 3, row)
    #expect(range.lender?.presence() == .moved && !source.isPresent(tree.address))
    try tree.write("resource", line: 3, before)
    #expect(range.lender?.presence() == .inPlace && source.isPresent(tree.address))
    tree.remove("resource")
    #expect(range.lender?.presence() == .gone && !source.isPresent(tree.address))
  }

  @Test func `ranges of one BAR lie side by side but not over each other`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let source = SysfsSource(root: tree.root)
    let first = try source.open(request(tree, 0...3))
    do {
      let second = try source.open(request(tree, 4...7))
      for pages in [0...0, 3...4, 7...8, 0...255, 2...5] as [ClosedRange<UInt64>] {
        let error = try #require(throws: DeviceError.self) {
          _ = try source.open(request(tree, pages))
        }
        #expect(error.errno == .resourceBusy)
        #expect(error.description.contains("which is open already"))
      }
      _ = second.size
    }
    // Given back, it can be had again.
    let third = try source.open(request(tree, 4...7))
    _ = (first.size, third.size)
  }

  @Test func `a second user of a BAR is told to wait, and changes nothing`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let (first, second) = (SysfsSource(root: tree.root), SysfsSource(root: tree.root))
    do {
      let range = try first.open(request(tree, 0...0))
      let open = try tree.openFiles()
      try expectBusy(second, request(tree, 8...8))
      #expect(try tree.state() == .attached)
      #expect(try tree.openFiles() == open)
      _ = range.size
    }
    let range = try second.open(request(tree))
    #expect(range.size == .mebibytes(1))
  }

  @Test func `a descriptor that a client still holds keeps the BAR locked`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    do {
      let client: Descriptor
      do {
        client = try SysfsSource(root: tree.root).open(request(tree)).descriptor.duplicate()
      }
      #expect(try tree.state() == .untouched, "the source itself is gone")
      try expectBusy(SysfsSource(root: tree.root), request(tree))
      _ = client.rawValue
    }
    let range = try SysfsSource(root: tree.root).open(request(tree))
    _ = range.size
  }

  @Test func `a mapping that outlives its descriptors keeps the BAR locked`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    do {
      let orphan: Mapping
      do {
        let range = try SysfsSource(root: tree.root).open(request(tree))
        orphan = try Mapping(mapping: range)
      }
      #expect(try tree.openFiles() == 0)
      try expectBusy(SysfsSource(root: tree.root), request(tree))
      _ = orphan.size
    }
    let range = try SysfsSource(root: tree.root).open(request(tree))
    _ = range.size
  }

  @Test func `what was lent is known to be out until its last duplicate and mapping end`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    do {
      let source = SysfsSource(root: tree.root)
      let low = try source.open(request(tree, 0...0))
      let high = try source.open(request(tree, 1...9))
      let (neighbour, found) = (low.lender, high.lender)
      let lender = try #require(found)
      #expect(lender.witness() == .free)
      var copy: Descriptor?
      do {
        let lent = try lender.lend(for: Lending(rawValue: 1))
        let another = try lender.lend(for: Lending(rawValue: 1))
        copy = try lent.duplicate()
        #expect(lender.witness() == .reached)
        #expect(neighbour?.witness() == .reached, "a descriptor reaches the whole BAR")
        _ = another.rawValue
      }
      #expect(lender.witness() == .reached, "a duplicate lives")
      let address = unsafe mmap(nil, 4096, PROT_READ, MAP_SHARED, copy?.rawValue ?? -1, 0)
      try #require(unsafe address != MAP_FAILED)
      copy = nil
      #expect(lender.witness() == .reached, "a mapping lives")
      unsafe munmap(address, 4096)
      #expect(lender.witness() == .free)
      _ = (low.size, high.size)
    }
    #expect(try tree.state() == .untouched)
  }

  @Test func `what was lent keeps the BAR locked after its lender's end`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    do {
      let lent: Descriptor
      do {
        let lender = try SysfsSource(root: tree.root).open(request(tree, 7...9)).lender
        lent = try #require(lender).lend(for: Lending(rawValue: 1))
      }
      #expect(try tree.state() == .untouched, "the source itself is gone")
      try expectBusy(SysfsSource(root: tree.root), request(tree))
      _ = lent.rawValue
    }
    let range = try SysfsSource(root: tree.root).open(request(tree))
    _ = range.size
  }

  @Test(arguments: [true, false])
  func `write-combining through a file of its own locks both`(wc: Bool) throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    // As on real sysfs: two files.
    tree.remove("resource2_wc")
    try tree.write("resource2_wc", [UInt8](repeating: 0, count: 1 << 20))
    let source = SysfsSource(root: tree.root)
    do {
      let region = try Region(mapping: source.open(request(tree)))
      try region.write([1, 2, 3], at: 0)
      #expect(try tree.read("resource2_wc")[0..<3] == [1, 2, 3])
      #expect(try tree.read("resource2")[0..<3] == [0, 0, 0])
      // Whichever of the two a second user would go by.
      tree.remove(wc ? "resource2" : "resource2_wc")
      if wc { try tree.write("resource2", [UInt8](repeating: 0, count: 1 << 20)) }
      try expectBusy(SysfsSource(root: tree.root), request(tree))
      _ = region.range.size
    }
    #expect(try tree.openFiles() == 0)
    let range = try source.open(request(tree))
    _ = range.size
  }

  @Test func `a device that was plugged into the place of one in use is not mixed up with it`()
    throws
  {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let source = SysfsSource(root: tree.root)
    do {
      let old = try source.open(request(tree, 0...0))
      try tree.tree.remove(tree.address)
      try tree.tree.add(EmulatedDevice.parse("nvme,cmb=1M,address=\(tree.address)"))
      let error = try #require(throws: DeviceError.self) {
        _ = try source.open(request(tree, 1...1))
      }
      #expect(error.description.contains("another device was plugged in there"))
      #expect(try tree.state() == .untouched)
      _ = old.size
    }
    #expect(try tree.state() == .untouched, "the old device is undone, not the new one")
    let new = try source.open(request(tree))
    #expect(try tree.state() == .attached)
    _ = new.size
  }

  @Test func `many threads open and close what they can get, and all is undone`() async throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let source = SysfsSource(root: tree.root)
    await withTaskGroup(of: Int.self) { group in
      for task in 0..<4 as Range<UInt64> {
        group.addTask {
          var count = 0
          for round in 0..<50 as Range<UInt64> {
            let page = (task * 7 + round) % 8
            if let range = try? source.open(request(tree, page...page)) {
              count += range.size > 0 ? 1 : 0
            }
          }
          return count
        }
      }
      var opened = 0
      for await count in group { opened += count }
      #expect(opened > 0)
    }
    #expect(try tree.state() == .untouched)
    #expect(try tree.openFiles() == 0)
  }
}
