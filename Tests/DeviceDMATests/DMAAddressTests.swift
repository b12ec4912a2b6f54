import DeviceDMA
import DeviceFixtures
import DeviceMemory
import DeviceSources
import GenPool
import PCIDevices
import SystemPackage
import Testing

/// Which address an initiator uses where nothing but the kernel's own files can be asked. Containers are
/// proved in the machine tests.
@Suite struct DMAAddressTests {
  /// A tree with memory, and a device that does DMA, in group 7 if it is in one.
  private func tree(domain: String?) throws -> (TemporaryTree, PCIAddress) {
    let tree = try TemporaryTree(
      "nvme,cmb=64M,bus-offset=-0x4000000000", "nvme" + (domain == nil ? "" : ",group=7"))
    if let domain { try tree.write("/kernel/iommu_groups/7/type", domain + "\n") }
    return (tree, tree.addresses[1])
  }

  private func pool(_ tree: TemporaryTree) throws -> Pool {
    let pool = Pool(granule: .page, name: "cmb")
    try pool.add(
      Region(mapping: SysfsSource(root: tree.root).open(BARRequest(device: tree.address, bar: 2))))
    return pool
  }

  @Test(arguments: [nil, "identity"])
  func `without translation it is the bus address`(domain: String?) throws {
    let (tree, device) = try tree(domain: domain)
    let pool = try pool(tree)
    _ = try pool.allocate(.mebibytes(1))
    let allocation = try pool.allocateDMA(.kibibytes(8))
    let initiator = try Initiator(device, in: DeviceTree(root: tree.root))
    let mapping = try dmaAddress(of: DMAMemory(allocation, of: pool), for: initiator)
    let bus = try #require(allocation.bus)
    #expect(mapping.address == .bus(bus))
    #expect(bus.rawValue != allocation.physical?.rawValue, "or the wrong one would pass, too")
  }

  @Test(arguments: ["DMA", "DMA-FQ", "blocked", "unmanaged", "new"])
  func `where the kernel's domain translates there is none, and why is said`(domain: String) throws
  {
    let (tree, device) = try tree(domain: domain)
    let error = try #require(throws: DMAError.self) {
      try Initiator(device, in: DeviceTree(root: tree.root))
    }
    #expect(error.errno == .noRouteToHost)
    #expect(error.description.contains("IOMMU group 7 translates (\(domain))"))
    #expect(error.description.contains("genpoolctl device bind \(device)"))
  }

  @Test func `a group that does not say what it is translates`() throws {
    let tree = try TemporaryTree("nvme,group=7")
    #expect(throws: DMAError.self) {
      try Initiator(tree.address, in: DeviceTree(root: tree.root))
    }
  }

  @Test func `a device that is not there reaches nothing`() throws {
    let tree = try TemporaryTree("nvme")
    let gone = try #require(PCIAddress("0000:42:00.0"))
    #expect(throws: DMAError.self) { try Initiator(gone, in: DeviceTree(root: tree.root)) }
  }

  @Test func `memory whose bus address nobody knows is out of reach`() throws {
    let (tree, device) = try tree(domain: nil)
    let pool = Pool(granule: .page)
    try pool.add(start: VirtualAddress(0x1_0000), size: .mebibytes(1))
    let initiator = try Initiator(device, in: DeviceTree(root: tree.root))
    let memory = try DMAMemory(pool.allocateDMA(.kibibytes(4)), of: pool)
    let error = try #require(throws: DMAError.self) { try dmaAddress(of: memory, for: initiator) }
    #expect(error.description.contains("nobody knows the memory's bus address"))
  }

  @Test func `an allocation of another pool is refused`() throws {
    let (tree, _) = try tree(domain: nil)
    let pool = try pool(tree)
    let allocation = try pool.allocateDMA(.kibibytes(8))
    #expect(throws: DMAError.self) { try DMAMemory(allocation, of: Pool(granule: .page)) }
  }

  @Test func `what is mapped as a whole has an address for each part`() throws {
    let (tree, device) = try tree(domain: nil)
    let shared = SharedRegion(
      try Region(
        mapping: SysfsSource(root: tree.root).open(BARRequest(device: tree.address, bar: 2))))
    let pool = Pool(granule: .page)
    try pool.add(shared)
    let initiator = try Initiator(device, in: DeviceTree(root: tree.root))
    let mapping = try dmaAddress(of: DMAMemory(shared), for: initiator)
    _ = try pool.allocate(.kibibytes(12))
    let part = try pool.allocateDMA(.kibibytes(8))
    let bus = try #require(part.bus)
    #expect(try mapping.address(of: part.start, size: part.size) == .bus(bus))
    #expect(mapping.virtualAddress(of: .bus(bus + 4097)) == part.start + 4097)
    #expect(mapping.virtualAddress(of: .iova(IOVA(bus.rawValue))) == nil, "another space")
    let end = mapping.memory.start + mapping.memory.size
    for (start, size) in [
      (end, 1), (end - 1, 2), (mapping.memory.start - 1, 1), (mapping.memory.start, .mebibytes(65)),
    ] as [(VirtualAddress, ByteCount)] {
      #expect(throws: DMAError.self) { try mapping.address(of: start, size: size) }
    }
    #expect(mapping.virtualAddress(of: .bus(bus + .mebibytes(64))) == nil)
  }

  @Test func `a mapping keeps the memory of a pool that has ended`() throws {
    let (tree, device) = try tree(domain: nil)
    let mapping: DMAMapping
    do {
      let pool = try pool(tree)
      let allocation = try pool.allocateDMA(.kibibytes(4))
      let initiator = try Initiator(device, in: DeviceTree(root: tree.root))
      mapping = try dmaAddress(of: DMAMemory(allocation, of: pool), for: initiator)
      try pool.free(allocation)
      try pool.destroy()
    }
    #expect(try tree.openFiles() > 0)
    withExtendedLifetime(mapping) {}
  }

  @Test func `at its end nothing of the memory is kept`() throws {
    let (tree, device) = try tree(domain: nil)
    do {
      let pool = try pool(tree)
      let initiator = try Initiator(device, in: DeviceTree(root: tree.root))
      let memory = try DMAMemory(pool.allocateDMA(.kibibytes(4)), of: pool)
      _ = try dmaAddress(of: memory, for: initiator)
    }
    #expect(try tree.openFiles() == 0)
  }
}
