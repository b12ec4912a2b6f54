import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
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

  @Test func `a region that is abandoned reads as all-ones and keeps no file open`() throws {
    let file = try MemoryFile(size: .kibibytes(64))
    let region = try file.region(at: .kibibytes(16), size: .kibibytes(32))
    let number = region.range.descriptor.rawValue
    try region.write([1, 2, 3], at: 0)
    try region.abandon()
    #expect(file.mappings == 0)
    #expect(!MemoryFile.isOpen(number, name: file.name))
    #expect(try region.read(at: 0, count: 8) == [UInt8](repeating: 0xff, count: 8))
    try region.write([4, 5, 6], at: 0)
    #expect(try file.bytes(at: .kibibytes(16), count: 3) == [1, 2, 3])
    #expect(fcntl(number, F_GETFD) == FD_CLOEXEC, "the number is still this region's to close")
  }

  @Test func `a shared region ends with the last who has it`() throws {
    let file = try MemoryFile(size: .kibibytes(64))
    let ended = Counter()
    let pool = Pool(granule: .page)
    do {
      let shared = SharedRegion(
        try Region(
          mapping: file.range(
            size: .kibibytes(64), attachment: Attachment { ended.increment() })))
      try pool.add(shared)
      #expect(pool.backing(of: shared.region.mapping.start) === shared)
    }
    #expect(file.mappings == 1 && ended.value == 0)
    try pool.destroy()
    #expect(file.mappings == 0 && ended.value == 1)
  }
}
