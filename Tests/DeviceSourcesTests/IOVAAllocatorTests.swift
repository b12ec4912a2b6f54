import DeviceSources
import GenPool
import Reference
import Testing

@Suite struct IOVAAllocatorTests {
  private static let lowerHalf = AddressRange(first: IOVA(0), last: IOVA(0x7f_ffff_ffff))

  private func allocator(_ ranges: AddressRange<IOVASpace>?...) throws -> IOVAAllocator {
    try IOVAAllocator(ranges: ranges.compactMap { $0 })
  }

  @Test func `address 0 is never handed out`() throws {
    let allocator = try allocator(Self.lowerHalf)
    #expect(try allocator.allocate(.kibibytes(4), like: VirtualAddress(0)) == IOVA(2 << 20))
  }

  @Test func `low addresses come first`() throws {
    let allocator = try allocator(
      AddressRange(first: IOVA(1 << 40), last: IOVA(1 << 41)), Self.lowerHalf,
      AddressRange(first: IOVA(1 << 42), last: IOVA(1 << 43)))
    #expect(try allocator.allocate(.gibibytes(2), like: VirtualAddress(0)) < IOVA(1 << 32))
  }

  @Test func `no mapping lies where x86 takes writes as interrupts`() throws {
    let allocator = try allocator(Self.lowerHalf)
    let hole = try #require(AddressRange(first: IOVA(0xfee0_0000), last: IOVA(0xfeef_ffff)))
    // Close to all that is below 8 GiB.
    for _ in 0..<500 {
      let iova = try allocator.allocate(.mebibytes(12), like: VirtualAddress(0))
      let range = try #require(AddressRange(start: iova, size: .mebibytes(12)))
      #expect(!range.overlaps(hole))
    }
  }

  @Test func `no mapping lies where a BAR answers`() throws {
    let bar = try #require(AddressRange(first: IOVA(0x8000_0000), last: IOVA(0xbfff_ffff)))
    let allocator = try IOVAAllocator(
      ranges: [Self.lowerHalf].compactMap { $0 }, avoiding: [bar])
    for _ in 0..<80 {
      let iova = try allocator.allocate(.mebibytes(64), like: VirtualAddress(0))
      #expect(try #require(AddressRange(start: iova, size: .mebibytes(64))).overlaps(bar) == false)
    }
  }

  @Test(
    arguments: [
      (.kibibytes(4), 0x7f12_3456_7000), (.mebibytes(1), 0x1_0410_0000), (.mebibytes(3), 0x20_1000),
      (.mebibytes(64), 0x80_0400_0000), (.gibibytes(3), 0x7fff_c000_0000),
    ] as [(ByteCount, UInt64)])
  func `an IOVA is aligned as the memory is`(size: ByteCount, start: UInt64) throws {
    let allocator = try allocator(Self.lowerHalf)
    let iova = try allocator.allocate(size, like: VirtualAddress(start))
    let alignment = min(size.largestPowerOfTwo.rawValue, 1 << 30)
    #expect(iova.rawValue % alignment == start % alignment)
  }

  @Test func `a kernel that does not say what is translated has addresses below 4 GiB`() throws {
    let allocator = try allocator()
    var last = IOVA(0)
    while let iova = try? allocator.allocate(.mebibytes(256), like: VirtualAddress(0)) {
      #expect(iova + .mebibytes(256) <= IOVA(1 << 32))
      last = max(last, iova)
    }
    #expect(last > IOVA(1 << 31))
  }

  @Test func `all space is there again when everything was freed, and nothing ever overlaps`()
    throws
  {
    let allocator = try allocator(AddressRange(first: IOVA(0), last: IOVA(0xffff_ffff)))
    var generator = SplitMix64(seed: 4)
    var held: [(iova: IOVA, size: ByteCount)] = []
    for _ in 0..<4000 {
      if Bool.random(using: &generator), let index = held.indices.randomElement(using: &generator) {
        let (iova, size) = held.remove(at: index)
        try allocator.free(iova, size)
      } else {
        let size = ByteCount(UInt64.random(in: 1...8192, using: &generator) * 4096)
        let start = VirtualAddress(UInt64.random(in: 1...1 << 34, using: &generator) * 4096)
        guard let iova = try? allocator.allocate(size, like: start) else { continue }
        let range = try #require(AddressRange(start: iova, size: size))
        // Not even the page behind it is anybody's.
        #expect(
          !held.contains { other in
            AddressRange(start: other.iova, size: other.size + 4096)?.overlaps(range) == true
              || other.iova == iova + size
          })
        held.append((iova, size))
      }
    }
    for (iova, size) in held { try allocator.free(iova, size) }
    // The most that is congruent: page 0 and what interrupts use are nobody's.
    #expect(throws: Never.self) { try allocator.allocate(.gibibytes(2), like: VirtualAddress(0)) }
  }

  @Test func `giving back twice is refused`() throws {
    let allocator = try allocator(Self.lowerHalf)
    let iova = try allocator.allocate(.mebibytes(1), like: VirtualAddress(0))
    try allocator.free(iova, .mebibytes(1))
    #expect(throws: IOVAAllocator.Failure.self) { try allocator.free(iova, .mebibytes(1)) }
  }
}
