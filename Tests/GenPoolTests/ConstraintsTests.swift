import GenPool
import Testing

/// Constraints against every bitmap of a small chunk, by the plainest oracle.
@Suite struct ConstraintsTests {
  private static let granules = 10
  private static let virtual: UInt64 = 0x1010

  /// Where a run of `count` from granule `first` on may be.
  private func isAdmitted(_ first: Int, _ count: Int, _ bus: UInt64, _ rules: Constraints) -> Bool {
    let addresses = (bus + 16 * UInt64(first))..<(bus + 16 * UInt64(first + count))
    if let below = rules.below, addresses.upperBound > below.rawValue { return false }
    guard let boundary = rules.boundary?.rawValue else { return true }
    return addresses.lowerBound / boundary == (addresses.upperBound - 1) / boundary
  }

  private func expected(
    _ fit: Fit, _ count: Int, _ taken: [Bool], _ bus: UInt64, _ rules: Constraints
  ) -> Int? {
    let places = (0...(Self.granules - count)).filter { first in
      !taken[first..<(first + count)].contains(true) && isAdmitted(first, count, bus, rules)
    }
    switch fit {
    case .first: return places.first
    case .firstAligned(let alignment):
      return places.first { (Self.virtual + 16 * UInt64($0)) % alignment.rawValue == 0 }
    case .orderAligned:
      let power = [1, 1, 2, 4, 4, 8][count]
      return places.first { $0 % power == 0 }
    case .best:
      func length(_ first: Int) -> Int {
        let low = (0...first).last { $0 == 0 || taken[$0 - 1] } ?? 0
        return (first..<taken.count).prefix { !taken[$0] }.count + first - low
      }
      return places.min { (length($0), $0) < (length($1), $1) }
    case .fixed(let offset): return places.first { $0 == Int(offset.rawValue / 16) }
    case .custom: return nil
    }
  }

  @Test(arguments: [0x4000, 0x4018, 0xffff_ffb0] as [UInt64])
  func `every bitmap and fit gives the lowest place that is admitted`(bus: UInt64) throws {
    let pool = Pool(granule: GranuleSize(order: 4))
    try pool.add(
      start: VirtualAddress(Self.virtual), size: ByteCount(16 * UInt64(Self.granules)),
      bus: BusAddress(bus))
    let rules = [
      Constraints(below: BusAddress(bus + 100)), Constraints(boundary: 32),
      Constraints(boundary: 64), Constraints(below: BusAddress(bus + 130), boundary: 64),
    ]
    let fits: [Fit] = [.first, .firstAligned(32), .orderAligned, .best, .fixed(offset: 48)]
    var differences = 0
    for mask in 0..<(1 << Self.granules) {
      let taken = (0..<Self.granules).map { mask >> $0 & 1 == 1 }
      for index in taken.indices where taken[index] {
        _ = try pool.allocate(16, fit: .fixed(offset: ByteCount(16 * UInt64(index))))
      }
      for rule in rules {
        for fit in fits {
          for count in [1, 2, 3, 5] {
            let size = ByteCount(16 * UInt64(count))
            let got = try? pool.allocate(size, fit: fit, meeting: rule)
            let place = got.map { Int($0.start.rawValue - Self.virtual) / 16 }
            if place != expected(fit, count, taken, bus, rule) {
              differences += 1
              if differences < 5 {
                Issue.record("\(taken) \(rule) \(fit) \(count): \(place as Any)")
              }
            }
            if let got { try pool.free(got) }
          }
        }
      }
      for index in taken.indices where taken[index] {
        try pool.free(VirtualAddress(Self.virtual + 16 * UInt64(index)), size: 16)
      }
    }
    #expect(differences == 0)
    #expect(pool.available == pool.size)
  }

  @Test func `a chunk without bus addresses meets no constraint on them`() throws {
    let pool = Pool(granule: .page)
    try pool.add(start: VirtualAddress(0x10_0000), size: .mebibytes(1))
    #expect(throws: PoolError.unconstrainable(requested: 4096, .busAddress)) {
      try pool.allocate(4096, meeting: Constraints(below: BusAddress(1 << 32)))
    }
    _ = try pool.allocate(4096, meeting: Constraints())
    #expect(throws: PoolError.boundaryIsNoPowerOfTwo(12)) {
      try pool.allocate(4096, meeting: Constraints(boundary: 12))
    }
  }

  @Test func `the constraint that none could meet is named, and by how much`() throws {
    let pool = Pool(granule: .page)
    func unmet(_ size: ByteCount, _ constraints: Constraints) -> String {
      let error = #expect(throws: PoolError.self) {
        try pool.allocate(size, meeting: constraints)
      }
      return error?.description ?? ""
    }
    #expect(
      unmet(4096, Constraints()).hasSuffix("the pool has no chunk that is as long as a granule"))
    try pool.add(
      start: VirtualAddress(0x10_0000), size: .mebibytes(1), bus: BusAddress(0x1_0000_0000))
    #expect(unmet(.mebibytes(2), Constraints()).hasSuffix("no chunk is longer than 1 MiB"))
    let below = Constraints(below: BusAddress(1 << 32))
    #expect(
      unmet(.kibibytes(64), below).hasSuffix(
        "the lowest place ends 64 KiB above the limit of bus addresses"))
    #expect(
      unmet(8192, Constraints(boundary: 4096)).hasSuffix(
        "wherever it is put it crosses a multiple of 4 KiB"))
    #expect(
      unmet(4096, Constraints(node: NUMANode(3))).hasSuffix(
        "none that is long enough is of NUMA node 3"))
  }

  @Test func `out of reach, in use and in pieces are told apart`() throws {
    let pool = Pool(granule: .page)
    try pool.add(
      start: VirtualAddress(0x10_0000), size: .mebibytes(1), bus: BusAddress(0xffff_f000))
    let below = Constraints(below: BusAddress(1 << 32))
    #expect(throws: PoolError.unconstrainable(requested: 8192, .below(excess: 4096))) {
      try pool.allocate(8192, meeting: below)
    }
    let only = try pool.allocateDMA(4096, meeting: below)
    #expect(only.bus == BusAddress(0xffff_f000))
    // The longest run is beyond the limit.
    let rest = ByteCount.mebibytes(1) - 4096
    #expect(throws: PoolError.fragmented(requested: 4096, available: rest, largest: rest)) {
      try pool.allocate(4096, meeting: below)
    }
    // 4 GiB is not crossed by what is longer than the rest below it.
    let beyond = try pool.allocateDMA(
      8192, meeting: Constraints(boundary: ByteCount(1 << 32)))
    #expect(beyond.bus == BusAddress(1 << 32))
    #expect(throws: PoolError.unconstrainable(requested: 8192, .boundary(4096))) {
      try pool.allocate(8192, meeting: Constraints(boundary: 4096))
    }
  }

  @Test func `what the constraints ask of the kind of memory chooses the chunk`() throws {
    let queues = ChunkUses(rawValue: 1)
    let data = ChunkUses(rawValue: 2)
    let pool = Pool(granule: .page)
    let starts = [0x10_0000, 0x20_0000, 0x30_0000].map { VirtualAddress($0) }
    try pool.add(start: starts[0], size: 65536)
    try pool.add(
      start: starts[1], size: 65536,
      traits: ChunkTraits(node: NUMANode(1), device: "nvme0", uses: data))
    try pool.add(
      start: starts[2], size: 65536,
      traits: ChunkTraits(node: NUMANode(0), device: "nvme1", uses: [queues, data]))
    func chunk(_ constraints: Constraints) throws -> VirtualAddress? {
      let got = try pool.allocate(4096, meeting: constraints)
      defer { _ = try? pool.free(got) }
      return got.start
    }
    #expect(try chunk(Constraints()) == starts[2])
    #expect(try chunk(Constraints(node: NUMANode(1))) == starts[1])
    #expect(try chunk(Constraints(node: NUMANode(1), uses: data)) == starts[1])
    #expect(throws: PoolError.unconstrainable(requested: 4096, .uses(missing: queues))) {
      try chunk(Constraints(node: NUMANode(1), uses: queues))
    }
    // Only the owner is bound by what it can keep there.
    #expect(
      try chunk(Constraints(node: NUMANode(1), uses: queues, initiator: "nvme1")) == starts[1])
    #expect(throws: PoolError.unconstrainable(requested: 4096, .uses(missing: queues))) {
      try chunk(Constraints(node: NUMANode(1), uses: queues, initiator: "nvme0"))
    }
    #expect(throws: PoolError.unconstrainable(requested: 4096, .node(NUMANode(7)))) {
      try chunk(Constraints(node: NUMANode(7)))
    }
  }

  @Test func `an own algorithm's choice is taken or left`() throws {
    let pool = Pool(granule: .page)
    try pool.add(start: VirtualAddress(0x10_0000), size: 65536, bus: BusAddress(0x8_0000))
    let last = Fit.custom { bitmap, request in GranuleIndex(bitmap.count.rawValue - 1) }
    #expect(throws: PoolError.self) {
      try pool.allocate(4096, fit: last, meeting: Constraints(below: BusAddress(0x8_8000)))
    }
    _ = try pool.allocate(4096, fit: last, meeting: Constraints(below: BusAddress(0x9_0000)))
  }
}
