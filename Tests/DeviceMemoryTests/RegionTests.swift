import DeviceMemory
import GenPool
import Testing

struct RegionTests {
  @Test func `a region ends by unmapping, then closing, then undoing the opening`() throws {
    let file = try MemoryFile(size: .kibibytes(64))
    let name = file.name
    let number = Counter()
    let ended = Counter()
    do {
      let attachment = Attachment {
        ended.increment()
        #expect(MemoryFile.mappings(of: name) == 0)
        #expect(!MemoryFile.isOpen(CInt(number.value), name: name))
      }
      let region = try Region(mapping: file.range(size: .kibibytes(64), attachment: attachment))
      number.value = Int(region.range.descriptor.rawValue)
      #expect(file.mappings == 1)
      #expect(MemoryFile.isOpen(CInt(number.value), name: name))
      #expect(ended.value == 0)
    }
    #expect(ended.value == 1)
  }

  @Test func `a pool hands out a region's memory with its addresses, and keeps it mapped`() throws {
    let file = try MemoryFile(size: .kibibytes(64))
    let ended = Counter()
    let pool = Pool(granule: GranuleSize(order: 12))
    try pool.add(
      Region(
        mapping: file.range(
          size: .kibibytes(64), physical: PhysicalAddress(0x10_0000_3000),
          bus: BusAddress(0x3000), attachment: Attachment { ended.increment() })))
    try file.put([UInt8](repeating: 0xff, count: 65536), at: 0)

    let allocation = try pool.allocateDMA(.kibibytes(8), alignment: .kibibytes(8), zeroed: true)
    #expect(allocation.physical == PhysicalAddress(0x10_0000_4000))
    #expect(allocation.bus == BusAddress(0x4000))
    #expect(try file.bytes(at: .kibibytes(4), count: 8192).allSatisfy { $0 == 0 })
    #expect(try file.bytes(at: 0, count: 4096).allSatisfy { $0 == 0xff })
    #expect(file.mappings == 1)

    try pool.free(allocation)
    try pool.destroy()
    #expect(file.mappings == 0)
    #expect(ended.value == 1)
  }

  @Test func `a region that a pool refuses is unmapped and closed`() throws {
    let file = try MemoryFile(size: .kibibytes(4))
    let ended = Counter()
    let pool = Pool(granule: GranuleSize(order: 12))
    try pool.destroy()
    #expect(throws: PoolError.destroyed) {
      try pool.add(
        Region(
          mapping: file.range(
            size: .kibibytes(4), attachment: Attachment { ended.increment() })))
    }
    #expect(file.mappings == 0)
    #expect(ended.value == 1)
  }
}
