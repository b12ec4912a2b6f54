import DeviceDMA
import DeviceFixtures
import DeviceMemory
import DeviceSources
import GenPool
import Glibc
import LinuxSystem
import NVMe
import PCIDevices
import SystemPackage
import Testing

/// Buffers for DMA, of a controller's own memory and of the host's.
@Suite struct BufferPoolTests {
  private func pool(_ tree: TemporaryTree) throws -> BufferPool {
    try BufferPool(
      mapping: NVMeController(at: tree.address, source: SysfsSource(root: tree.root))
        .open(.buffer))
  }

  @Test func `what the owner cannot keep there is refused, and nothing is allocated`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let pool = try pool(tree)
    #expect(pool.memories[0].ownUses == [.submissionQueues, .lists, .readData, .writeData])
    let error = try #require(throws: BufferPoolError.self) {
      _ = try pool.allocate(4096, for: [.completionQueues, .lists], by: tree.address)
    }
    guard case .unsupportedUse(_, let refused, _) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(refused == .completionQueues)
    #expect(pool.pool.available == .mebibytes(1))
    for use in [.submissionQueues, .lists, .readData, .writeData] as [MemoryUses] {
      _ = try pool.allocate(4096, for: use, by: tree.address)
    }
  }

  @Test func `another device is not bound by what the owner can keep`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let peer = try #require(PCIAddress("0000:7f:00.0"))
    _ = try pool(tree).allocate(4096, for: .completionQueues, by: peer)
  }

  @Test func `a buffer is read and written by offsets, and not past its end`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let pool = try pool(tree)
    let first = try pool.allocate(.kibibytes(4), for: .readData, by: tree.address)
    let second = try pool.allocate(.kibibytes(8), for: .readData, by: tree.address)
    try first.write([UInt8](repeating: 1, count: 4096))
    try second.write([2, 3], at: 8190)
    try second.store(0x0403_0201 as UInt32, at: 4)
    #expect(try second.read(at: 4, count: 4) == [1, 2, 3, 4])
    #expect(try second.load(UInt16.self, at: 8190) == 0x0302)
    #expect(try first.read(count: 4096) == [UInt8](repeating: 1, count: 4096))
    for attempt in [
      { try first.write([0], at: 4096) }, { _ = try first.read(at: 1, count: 4096) },
      { _ = try first.load(UInt64.self, at: 4092) },
      { try first.store(0 as UInt8, at: ByteCount(UInt64.max)) },
    ] {
      let fault = try #require(throws: DeviceFault.self) { try attempt() }
      #expect(fault.reason == .outOfBounds(size: .kibibytes(4)))
    }
    try second.zero()
    #expect(try second.read(count: 8192) == [UInt8](repeating: 0, count: 8192))
    #expect(try first.load(UInt8.self, at: 4095) == 1)
    try pool.free(first)
    #expect(throws: BufferPoolError.self) { try pool.free(first) }
  }

  @Test func `a pool of several sources gives each buffer the addresses of its own`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M,bus-offset=0x40000000", "ivshmem,size=1M")
    let source = SysfsSource(root: tree.root)
    let controller = try BufferPool.Memory(
      mapping: NVMeController(at: tree.addresses[0], source: source).open(.buffer))
    let other = try source.open(BARRequest(device: tree.addresses[1], bar: 2))
    let path = "\(tree.root)/memory"
    let file = try FileDescriptor.open(
      FilePath(path), .readWrite, options: [.create, .exclusiveCreate, .closeOnExec],
      permissions: .ownerReadWrite)
    let memory = DeviceRange(
      descriptor: Descriptor(owning: file.rawValue),
      mapOffset: .zero, size: .mebibytes(1), physical: nil, bus: nil, caching: .cached,
      isolation: .range, label: "host memory")
    try file.resize(to: 1 << 20)
    let regions: [SharedRegion] = try [
      controller.region, SharedRegion(Region(mapping: other)),
      SharedRegion(Region(mapping: memory)),
    ]
    let sources = regions.map { $0.region.range.source }
    #expect(sources == [.sysfs, .sysfs, nil])
    #expect(sources.map { $0?.removal } == [.unnoticed, .unnoticed, nil])
    let isolations = regions.map { $0.region.range.isolation }
    #expect(isolations == [.uidExclusive, .uidExclusive, .range])
    let pool = try BufferPool(
      [controller] + regions.dropFirst().map { BufferPool.Memory($0) }, label: "all there is")
    #expect(pool.pool.available == .mebibytes(3))
    var left: [DMABuffer] = []
    for number in 0..<3 {
      let made = try pool.allocate(.mebibytes(1), for: .readData, by: tree.addresses[1])
      try made.write([UInt8(number + 1)], at: 4095)
      left.append(made)
    }
    for (made, region) in zip(left, regions) {
      #expect(made.shared === region)
      let (bus, physical) = (region.region.range.bus, region.region.range.physical)
      #expect(made.allocation.bus == bus && made.allocation.physical == physical)
      #expect(try DMAMemory(made.allocation, of: pool.pool).bus == bus)
    }
    #expect(try left.map { try $0.load(UInt8.self, at: 4095) } == [1, 2, 3])
    // One that is full is passed over.
    try pool.free(left[1])
    #expect(
      try pool.allocate(4096, for: .readData, by: tree.addresses[0]).shared === regions[1])
    // A controller's completion queues are not put where it cannot keep them, another's may be.
    try pool.free(left[0])
    let (owner, peer) = (tree.addresses[0], tree.addresses[1])
    #expect(try pool.allocate(4096, for: .completionQueues, by: owner).shared === regions[1])
    #expect(try pool.allocate(4096, for: .completionQueues, by: peer).shared === regions[0])
    let low = Constraints(below: BusAddress(1 << 32))
    #expect(throws: BufferPoolError.self) {
      try pool.allocate(4096, for: .readData, by: owner, meeting: low)
    }
  }

  @Test func `a buffer's addresses are those of its place`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M,bus-offset=0x40000000")
    let pool = try pool(tree)
    _ = try pool.allocate(4096, for: .readData, by: tree.address)
    let buffer = try pool.allocate(4096, for: .readData, by: tree.address)
    let bar = try #require(try DeviceTree(root: tree.root).device(at: tree.address).bar(2))
    #expect(try buffer.allocation.physical == #require(bar.physical).first + 4096)
    #expect(try buffer.allocation.bus == #require(bar.bus) + 4096)
  }

  @Test func `a bridge that translates is found out, and one that does not is known`() throws {
    let translating = try TemporaryTree("nvme,cmb=1M,bus-offset=0x40000000")
    let error = try #require(throws: DMAError.self) {
      try DirectHostBridge(
        above: DeviceTree(root: translating.root).device(at: translating.address))
    }
    #expect(error.description.contains("its host bridge translates: BAR 0"))
    let direct = try TemporaryTree("nvme,cmb=1M")
    let bridge = try DirectHostBridge(
      above: DeviceTree(root: direct.root).device(at: direct.address))
    #expect(bridge.bus(of: PhysicalAddress(0x1234000)).rawValue == 0x1234000)
  }

  @Test func `more huge pages than there are is an error that says how to get them`() throws {
    let error = try #require(throws: SystemError.self) {
      _ = try HostMemory(size: .gibibytes(512))
    }
    #expect(error.errno == .noMemory || error.errno == .noSpace, "\(error)")
    #expect(error.description.contains("nr_hugepages"))
    #expect(throws: SystemError.self) { _ = try HostMemory(size: .zero) }
  }
}
