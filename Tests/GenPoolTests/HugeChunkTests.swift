import GenPool
import Testing

/// Chunks of so many granules that a run's length does not fit in 32 bits: addresses only.
struct HugeChunkTests {
  private static let start = VirtualAddress(0x1000_0000_0000)
  private static let gib = UInt64(1) << 30

  private func pool(granule order: Int, size: UInt64) throws -> Pool {
    let pool = Pool(granule: GranuleSize(order: order))
    try pool.add(start: Self.start, size: ByteCount(size))
    return pool
  }

  private func address(_ offset: UInt64) -> VirtualAddress {
    VirtualAddress(Self.start.rawValue + offset)
  }

  private func largest(_ pool: Pool) -> UInt64 { pool.statistics.largestFreeRun.rawValue }

  @Test(arguments: [(1 << 32) - 1, 1 << 32, (1 << 32) + 1] as [UInt64])
  func `a free run of 2^32 granules is found, shortened and given back`(granules: UInt64) throws {
    let size = granules * 64
    let pool = try pool(granule: 6, size: size)
    #expect(largest(pool) == size)
    let first = try pool.allocate(ByteCount(64))
    #expect(first.start == address(0))
    #expect(largest(pool) == size - 64)
    // Behind the first granule, 2^32 − 2 to 2^32 granules: the longest run that there is.
    let rest = try pool.allocate(ByteCount(size - 64 - 128))
    #expect(rest.start == address(64))
    #expect(largest(pool) == 128)
    let next = try pool.allocate(ByteCount(64))
    #expect(next.start == address(size - 128))
    try pool.free(rest)
    #expect(largest(pool) == size - 192)
    try pool.free(first)
    #expect(largest(pool) == size - 128)
    // The shortest run that is long enough, by the best fit, is the last granule; then the long
    // one.
    #expect(try pool.allocate(ByteCount(64), fit: .best).start == address(size - 64))
    #expect(try pool.allocate(ByteCount(128), fit: .best).start == address(0))
  }

  @Test func `a granule far inside a long run is taken by the fit that names it`() throws {
    let size = 256 * Self.gib
    let pool = try pool(granule: 6, size: size)
    let lowest = try pool.allocate(ByteCount(64))
    let last = try pool.allocate(ByteCount(64), fit: .fixed(offset: ByteCount(size - 64)))
    #expect(last.start == address(size - 64))
    try pool.free(lowest)
    let middle = try pool.allocate(ByteCount(128), fit: .fixed(offset: ByteCount(200 * Self.gib)))
    #expect(middle.start == address(200 * Self.gib))
    #expect(largest(pool) == 200 * Self.gib)
    let aligned = try pool.allocate(ByteCount(64), fit: .firstAligned(ByteCount(128 * Self.gib)))
    #expect(aligned.start.rawValue % (128 * Self.gib) == 0)
  }

  @Test func `a chunk of 2^38 granules and more serves every fit`() throws {
    let size = UInt64(64) << 40
    let pool = try pool(granule: 6, size: size + 64)
    #expect(largest(pool) == size + 64)
    #expect(try pool.allocate(ByteCount(64)).start == address(0))
    let last = try pool.allocate(ByteCount(64), fit: .fixed(offset: ByteCount(size)))
    #expect(last.start == address(size))
    let middle = try pool.allocate(ByteCount(4096), fit: .fixed(offset: ByteCount(size / 2 - 64)))
    #expect(middle.start == address(size / 2 - 64))
    #expect(largest(pool) == size / 2 - 128)
    // The upper half is the shorter run.
    let best = try pool.allocate(ByteCount(8192), fit: .best)
    #expect(best.start == address(size / 2 - 64 + 4096))
    try pool.free(best)
    try pool.free(middle)
    try pool.free(last)
    #expect(largest(pool) == size)
  }

  @Test func `a chunk whose map has no place in the address space is refused for want of memory`()
    throws
  {
    let pool = Pool(granule: GranuleSize(order: 0))
    #expect(throws: PoolError.noMemory) {
      try pool.add(start: Self.start, size: ByteCount(1 << 62))
    }
    #expect(throws: PoolError.noMemory) {
      try pool.add(start: Self.start, size: ByteCount(1 << 54))
    }
  }
}
