import GenPool
import Testing

struct AddressTests {
  @Test func `addresses print as 0x and 16 digits, and parse back`() {
    let address = PhysicalAddress(0x80f4_010000)
    #expect(address.description == "0x00000080f4010000")
    #expect(PhysicalAddress(address.description) == address)
    #expect(BusAddress("0xFF") == BusAddress(255))
    #expect(IOVA(UInt64.max).description == "0xffffffffffffffff")
  }

  @Test(arguments: ["", "0x", "12", "0x12345678901234567", "0xg", "-0x1", "0x+1", " 0x1", "0x1 "])
  func `anything else is no address`(text: String) {
    #expect(PhysicalAddress(text) == nil)
  }

  @Test func `only what has meaning can be computed`() {
    let address = BusAddress(0x1000)
    #expect(address + 0x10 - address == 0x10)
    #expect(address - 0x10 == BusAddress(0xff0))
    #expect(address.isAligned(to: 4096))
    #expect(!(address + 1).isAligned(to: 2))
    #expect(BusAddress(UInt64.max).advanced(by: 1) == nil)
  }

  @Test func `ranges include both ends`() throws {
    let range = try #require(AddressRange(start: BusAddress(0x1000), size: 0x1000))
    #expect(range.last == BusAddress(0x1fff))
    #expect(range.size == 0x1000)
    #expect(range.contains(BusAddress(0x1fff)))
    #expect(!range.contains(BusAddress(0x2000)))
    #expect(range.description == "0x0000000000001000-0x0000000000001fff")
    #expect(AddressRange(start: BusAddress(0), size: 0) == nil)
    #expect(AddressRange(start: BusAddress(UInt64.max), size: 2) == nil)
    #expect(AddressRange(start: BusAddress(UInt64.max), size: 1) != nil)
    #expect(AddressRange(first: BusAddress(2), last: BusAddress(1)) == nil)
    let next = try #require(AddressRange(start: BusAddress(0x2000), size: 1))
    #expect(!range.overlaps(next))
    #expect(range.overlaps(range))
  }
}

struct ByteCountTests {
  @Test(
    arguments: [
      ("4096", 4096), ("0x1000", 4096), ("64K", 65536), ("64KiB", 65536), ("64 MiB", 67_108_864),
      ("2g", 2_147_483_648), ("1T", 1_099_511_627_776), ("100 B", 100), ("0", 0),
    ] as [(String, UInt64)])
  func `sizes are read as people write them`(text: String, bytes: UInt64) {
    #expect(ByteCount(text)?.rawValue == bytes)
  }

  @Test(arguments: [
    "", "K", "-1", "1.5G", "64X", "17179869184G", "1 K B", "64  K", "64\u{212A}", "٦٤K",
  ])
  func `anything else is no size`(text: String) {
    #expect(ByteCount(text) == nil)
  }

  @Test(
    arguments: [
      (0, "0 B"), (100, "100 B"), (4096, "4 KiB"), (67_108_864, "64 MiB"), (4097, "4097 B"),
    ] as [(UInt64, String)])
  func `sizes print in the unit that divides them`(bytes: UInt64, text: String) {
    #expect(ByteCount(bytes).description == text)
    #expect(ByteCount(text) == ByteCount(bytes))
  }

  @Test func `rounding stops at the end of the numbers`() {
    #expect(ByteCount(5000 as UInt64).roundedUp(to: 4096) == 8192)
    #expect(ByteCount(4096 as UInt64).roundedUp(to: 4096) == 4096)
    #expect(ByteCount(UInt64.max).roundedUp(to: 4096) == nil)
    #expect(ByteCount(5000 as UInt64).roundedDown(to: 4096) == 4096)
    #expect(ByteCount(5000 as UInt64).largestPowerOfTwo == 4096)
    #expect(ByteCount.zero.largestPowerOfTwo == 0)
  }
}
