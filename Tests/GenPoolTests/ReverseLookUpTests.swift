import GenPool
import Testing

@Suite struct ReverseLookUpTests {
  /// Two chunks, far apart in each space in another way.
  private func pool() throws -> Pool {
    let pool = Pool(granule: .page)
    try pool.add(
      start: VirtualAddress(0x10_0000), size: .mebibytes(1), physical: PhysicalAddress(0x8000_0000),
      bus: BusAddress(0x4000_0000))
    try pool.add(
      start: VirtualAddress(0x90_0000), size: .kibibytes(4), physical: PhysicalAddress(0x1000_0000),
      bus: nil)
    try pool.add(start: VirtualAddress(0xa0_0000), size: .kibibytes(4))
    return pool
  }

  @Test func `an address leads back to where it came from`() throws {
    let pool = try pool()
    for offset in [0, 1, 4096, 0xf_ffff] as [ByteCount] {
      let address = VirtualAddress(0x10_0000) + offset
      let physical = try #require(pool.physicalAddress(of: address))
      let bus = try #require(pool.busAddress(of: address))
      #expect(pool.virtualAddress(of: physical) == address)
      #expect(pool.virtualAddress(of: bus) == address)
    }
    #expect(pool.virtualAddress(of: PhysicalAddress(0x1000_0fff)) == VirtualAddress(0x90_0fff))
  }

  @Test func `an address of no chunk leads nowhere`() throws {
    let pool = try pool()
    for outside in [0, 0x0fff_ffff, 0x1000_1000, 0x7fff_ffff, 0x8010_0000, UInt64.max] {
      #expect(pool.virtualAddress(of: PhysicalAddress(outside)) == nil)
    }
    for outside in [0, 0x3fff_ffff, 0x4010_0000, 0x8000_0000, UInt64.max] {
      #expect(pool.virtualAddress(of: BusAddress(outside)) == nil)
    }
  }

  @Test func `what keeps a chunk's memory is found until the pool is destroyed`() throws {
    final class Keeper {}
    let keeper = Keeper()
    let pool = Pool(granule: .page)
    try unsafe pool.add(
      mapped: VirtualAddress(0x10_0000), size: .mebibytes(1), backing: keeper)
    try pool.add(start: VirtualAddress(0xa0_0000), size: .kibibytes(4))
    #expect(pool.backing(of: VirtualAddress(0x1f_ffff)) === keeper)
    #expect(pool.backing(of: VirtualAddress(0xa0_0000)) == nil)
    #expect(pool.backing(of: VirtualAddress(0x20_0000)) == nil)
    try pool.destroy()
    #expect(pool.backing(of: VirtualAddress(0x10_0000)) == nil)
  }
}
