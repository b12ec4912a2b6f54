import DeviceEmulation
import DeviceFixtures
import DeviceMemory
import DeviceSources
import GenPool
import PCIDevices
import SystemPackage
import Testing

@Suite struct OpeningTests {
  @Test func `a BAR is opened with both its addresses`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M,bus-offset=-0x4000000000")
    let source = SysfsSource(root: tree.root)
    let bar = try #require(try source.tree.device(at: tree.address).bar(2))
    let range = try source.open(BARRequest(device: tree.address, bar: 2))
    #expect(range.mapOffset == 0 && range.size == .mebibytes(64))
    #expect(range.physical == bar.physical?.first)
    #expect(range.bus == bar.bus && range.bus?.rawValue != range.physical?.rawValue)
    #expect(range.isolation == .uidExclusive)
    #expect(range.caching == .cached, "an ordinary file")
    #expect(range.label == "BAR 2 of 0000:01:00.0")
  }

  @Test func `a part of a BAR has addresses of its own`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    let source = SysfsSource(root: tree.root)
    let bar = try #require(try source.tree.device(at: tree.address).bar(2))
    let range = try source.open(
      BARRequest(device: tree.address, bar: 2, offset: .mebibytes(6), size: .mebibytes(2)))
    #expect(range.mapOffset == .mebibytes(6) && range.size == .mebibytes(2))
    #expect(range.physical == bar.physical.map { $0.first + .mebibytes(6) })
    #expect(range.bus == bar.bus.map { $0 + .mebibytes(6) })
    let rest = try source.open(
      BARRequest(device: tree.address, bar: 2, offset: .mebibytes(8)))
    #expect(rest.size == .mebibytes(56))
  }

  @Test(arguments: [
    (ByteCount(0), ByteCount?.none), (.mebibytes(2), .mebibytes(2)), (.mebibytes(3), .mebibytes(5)),
    (.kibibytes(4), .kibibytes(4)), (.mebibytes(32), nil),
  ])
  func `a mapping is aligned as the device sees it`(offset: ByteCount, size: ByteCount?) throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    let source = SysfsSource(root: tree.root)
    let range = try source.open(
      BARRequest(device: tree.address, bar: 2, offset: offset, size: size))
    let start = range.physical
    let physical = try #require(start)
    let alignment = range.size.largestPowerOfTwo
    let region = try Region(mapping: range)
    #expect(
      region.mapping.start.rawValue % alignment.rawValue == physical.rawValue % alignment.rawValue)
    try region.write([0xca, 0xfe], at: 0)
    let file = try FileDescriptor.open(tree.path("resource2"), .readOnly)
    defer { try? file.close() }
    var bytes: [UInt8] = [0, 0]
    _ = try unsafe bytes.withUnsafeMutableBytes { bytes in
      try unsafe file.read(fromAbsoluteOffset: Int64(offset.rawValue), into: bytes)
    }
    #expect(bytes == [0xca, 0xfe])
  }

  @Test(arguments: [
    (ByteCount(1), ByteCount?.none, "offset 1 B is not a multiple of the page size, 4 KiB"),
    (.mebibytes(1), nil, "offset 1 MiB lies past the BAR's end, at 1 MiB"),
    (ByteCount(UInt64.max - 4095), nil, "lies past the BAR's end"), (0, 0, "a size of 0 bytes"),
    (0, 4097, "size 4097 B is not a multiple of the page size, 4 KiB"),
    (0, ByteCount(UInt64.max - 4095), "from offset 0 B pass the BAR's end, at 1 MiB"),
    (.kibibytes(1020), .kibibytes(8), "8 KiB from offset 1020 KiB pass the BAR's end, at 1 MiB"),
  ])
  func `a part that is no part of the BAR is an error that says why`(
    offset: ByteCount, size: ByteCount?, problem: String
  ) throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let source = SysfsSource(root: tree.root)
    let error = try #require(throws: DeviceError.self) {
      _ = try source.open(BARRequest(device: tree.address, bar: 2, offset: offset, size: size))
    }
    #expect(error.errno == .invalidArgument)
    #expect(error.description.hasPrefix("attach BAR 2 of 0000:01:00.0: "))
    #expect(error.description.contains(problem), "\(error)")
    #expect(try tree.state() == .untouched)
  }

  @Test func `a device that a rule refuses is not touched`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M,driver=nvme,removable=yes")
    let source = SysfsSource(root: tree.root)
    let request = BARRequest(device: tree.address, bar: 2)
    let error = try #require(throws: DeviceError.self) { _ = try source.open(request) }
    #expect(error.errno == .resourceBusy)
    #expect(error.description.contains("refused: the firmware calls it removable"))
    #expect(
      error.description.contains(
        "driver nvme is bound to it [driver-bound]; genpoolctl device release \(tree.address)"))
    #expect(try source.refusals(of: request).map(\.rule) == ["hotplug", "driver-bound"])
    #expect(try tree.state() == .untouched)
    #expect(try tree.openFiles() == 0)
  }

  @Test func `a rule that can be allowed gives way to its name`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M,removable=yes")
    try tree.setNotPrefetchable()
    let source = SysfsSource(root: tree.root)
    let range = try source.open(
      BARRequest(device: tree.address, bar: 2, allowed: ["hotplug", "not-prefetchable"]))
    #expect(range.size == .mebibytes(1))
  }

  @Test(arguments: ["driver-bound", "hotplugs", ""])
  func `a rule that cannot be allowed is an error that lists those that can`(name: String) throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let error = try #require(throws: DeviceError.self) {
      _ = try SysfsSource(root: tree.root).open(
        BARRequest(device: tree.address, bar: 2, allowed: [name]))
    }
    #expect(
      error.description.hasSuffix(
        "allow=\(name) is not possible; only accelerator, hotplug, not-prefetchable"))
  }

  @Test func `a device that is not there is an error that says so`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let error = try #require(throws: DeviceError.self) {
      _ = try SysfsSource(root: tree.root).open(
        BARRequest(device: try #require(PCIAddress("0000:77:00.0")), bar: 2))
    }
    #expect(error.errno == Errno(rawValue: 19))
  }

  @Test func `a machine without resource files says so`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    for name in ["resource0", "resource2", "resource2_wc"] { tree.remove(name) }
    let error = try #require(throws: DeviceError.self) {
      _ = try SysfsSource(root: tree.root).open(BARRequest(device: tree.address, bar: 2))
    }
    #expect(error.description.contains("sysfs has no resource2 of it"))
  }

  @Test func `what is opened becomes a pool that knows where it is`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M,bus-offset=0x4000000")
    let range = try SysfsSource(root: tree.root).open(BARRequest(device: tree.address, bar: 2))
    let (physical, bus) = (range.physical, range.bus)
    let pool = Pool(granule: GranuleSize(order: 12))
    try pool.add(Region(mapping: range))
    let allocation = try pool.allocateDMA(.mebibytes(2), alignment: .mebibytes(2))
    #expect(allocation.physical == physical && allocation.bus == bus)
    try pool.free(allocation.start, size: .mebibytes(2))
  }
}
