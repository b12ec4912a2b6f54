import GenPool
import Testing

/// Who holds what.
struct TagTests {
  private static let start = VirtualAddress(0x10_0000)

  private func pool() throws -> Pool {
    let pool = Pool(granule: .page)
    try pool.add(start: Self.start, size: .kibibytes(64))
    return pool
  }

  private func holding(_ page: UInt64, _ pages: UInt64, _ tag: UInt32?) -> Holding {
    Holding(
      start: Self.start + 4096 * page, size: ByteCount(4096 * pages), tag: tag.map { Tag($0) })
  }

  @Test func `without tags all that is allocated is nobody's`() throws {
    let pool = try pool()
    #expect(pool.holdings == [])
    _ = try pool.allocate(.kibibytes(8))
    let gap = try pool.allocate(.kibibytes(4))
    _ = try pool.allocate(.kibibytes(4))
    try pool.free(gap)
    #expect(pool.holdings == [holding(0, 2, nil), holding(3, 1, nil)])
  }

  @Test func `a tag says whose an allocation is, until it is freed`() throws {
    let pool = try pool()
    let mine = try pool.allocate(.kibibytes(16))
    let yours = try pool.allocate(.kibibytes(8))
    _ = try pool.allocate(.kibibytes(4))
    try pool.tag(mine, as: Tag(7))
    try pool.tag(yours, as: Tag(9))
    #expect(pool.holdings == [holding(0, 4, 7), holding(4, 2, 9), holding(6, 1, nil)])
    // In part, and from the middle.
    try pool.free(mine.start + .kibibytes(4), size: .kibibytes(4))
    #expect(
      pool.holdings == [
        holding(0, 1, 7), holding(2, 2, 7), holding(4, 2, 9), holding(6, 1, nil),
      ])
    // What comes after is nobody's again.
    _ = try pool.allocate(.kibibytes(4))
    #expect(pool.holdings.first == holding(0, 1, 7))
    #expect(pool.holdings.dropFirst().first == holding(1, 1, nil))
    try pool.tag(Self.start, size: .kibibytes(28), as: nil)
    #expect(pool.holdings == [holding(0, 7, nil)])
  }

  @Test func `only what is allocated is anybody's`() throws {
    let pool = try pool()
    let mine = try pool.allocate(.kibibytes(4))
    #expect(throws: PoolError.notAllocated(Self.start + 4096)) {
      try pool.tag(mine.start, size: .kibibytes(8), as: Tag(1))
    }
    #expect(throws: PoolError.noSuchAddress(VirtualAddress(0x1000))) {
      try pool.tag(VirtualAddress(0x1000), size: 1, as: Tag(1))
    }
    #expect(throws: PoolError.pastChunkEnd(Self.start, .kibibytes(65))) {
      try pool.tag(Self.start, size: .kibibytes(65), as: Tag(1))
    }
    #expect(pool.holdings == [holding(0, 1, nil)])
    try pool.tag(mine, as: Tag(1))
    try pool.remove(chunkAt: Self.start, losingAllocations: true)
    #expect(pool.holdings == [])
    #expect(throws: PoolError.gone(Self.start)) { try pool.tag(mine, as: Tag(2)) }
  }
}
