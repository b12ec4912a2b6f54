import Reference
import Testing

@testable import GenPool

@Suite struct RunRowsTests {
  /// Rows and what they should say: for each slot a chunk's start and runs.
  private struct Model {
    var slots: [(origin: UInt64, runs: AlignedRuns)]

    func lack(_ slot: Int, _ order: Int, _ fromChunkStart: Bool) -> Int {
      let (origin, runs) = slots[slot]
      let counted = fromChunkStart ? runs : runs.counted(from: origin)
      return Int(counted.lack(min(order, AlignedRuns.greatestOrder)))
    }
  }

  /// Runs with a byte of 0 to 64 for each order.
  private func runs(_ random: inout SplitMix64) -> AlignedRuns {
    var word: UInt64 = 0
    for order in 0...AlignedRuns.greatestOrder {
      let lack: UInt64 = random.next() % 4 == 0 ? random.next() % 2 * 64 : random.next() % 65
      word |= lack << AlignedRuns.shift(order)
    }
    return AlignedRuns(rawValue: word)
  }

  @Test(arguments: [1, 2, 7, 8, 9, 16, 63, 64, 70])
  func `a search of the rows finds what a look at each slot finds`(count: Int) {
    var random = SplitMix64(seed: UInt64(count))
    let rows = RunRows(slots: count)
    var model = Model(slots: Array(repeating: (0, .none), count: count))
    for _ in 0..<400 {
      let slot = Int(random.next() % UInt64(count))
      let new = runs(&random)
      let column = rows.column(slot)
      if random.next() % 4 == 0 {
        let origin = random.next() << (random.next() % 9)
        column.write(new, origin: origin)
        model.slots[slot] = (origin, new)
      } else {
        column.change(from: model.slots[slot].runs, to: new, origin: model.slots[slot].origin)
        model.slots[slot].runs = new
      }
      let (origin, runs) = model.slots[slot]
      let isSaid = rows.says(runs, in: slot, origin: origin)
      #expect(isSaid)

      let order = Int(random.next() % 8)
      let fromChunkStart = random.next() % 2 == 0
      let end = Int(random.next() % UInt64(count + 1))
      let most = Int(random.next() % 65)
      let expected = (0..<end).last { model.lack($0, order, fromChunkStart) <= most } ?? -1
      let found = rows.slot(
        below: end, order, fromChunkStart: fromChunkStart, lackingAtMost: UInt64(most))
      #expect(found == expected)
      let least = (0..<count).map { model.lack($0, order, fromChunkStart) }.min() ?? 64
      let told = rows.least(order, fromChunkStart: fromChunkStart, below: count)
      #expect(told == least)
    }
  }

  @Test func `a failure tells of open chunks only`() throws {
    let pool = Pool(granule: .page)
    let starts = [0x10_0000, 0x20_0000, 0x30_0000].map { VirtualAddress($0) }
    for start in starts { try pool.add(start: start, size: .kibibytes(32)) }
    for _ in 0..<24 { _ = try pool.allocate(4096) }
    // Four free granules in each; from an even one on, one in the first, two in the second, three
    // in the third.
    for (start, free) in zip(starts, [[1, 2, 5, 7], [3, 4, 5, 7], [1, 2, 3, 4]]) {
      for granule in free {
        try pool.free(start + ByteCount(UInt64(granule) * 4096), size: 4096)
      }
    }
    for (open, largest) in [(2, 12288), (1, 8192), (0, 4096)] as [(Int, ByteCount)] {
      let refusal = PoolError.noAlignedRun(
        requested: .kibibytes(16), alignment: .kibibytes(8), largest: largest)
      for _ in 0..<3 {
        #expect(throws: refusal) {
          _ = try pool.allocate(.kibibytes(16), fit: .firstAligned(.kibibytes(8)))
        }
      }
      try pool.drain(chunkAt: starts[open])
    }
    for start in starts { try pool.undrain(chunkAt: start) }
    #expect(
      try pool.allocate(.kibibytes(12), fit: .firstAligned(.kibibytes(8))).start == starts[2] + 8192
    )
  }
}
