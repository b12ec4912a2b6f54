import GenPool
import Synchronization
import Testing

@testable import genpool_bench

/// What a recorded pool writes is what it did.
struct RecordedPoolTests {
  private final class Lines: Sendable {
    let all = Mutex<[String]>([])

    func append(_ line: String) { all.withLock { $0.append(line) } }
    var text: String { all.withLock { $0.joined(separator: "\n") } }
  }

  private func expectReplayed(_ lines: Lines, records: Int) throws {
    var replayer = Replayer()
    replayer.replay(try Trace(parsing: lines.text))
    #expect(replayer.recordCount == records)
    for mismatch in replayer.mismatches.prefix(3) {
      Issue.record("\(mismatch.record.text): got \(mismatch.got)")
    }
  }

  @Test func `a life at random is replayed exactly, failures included`() throws {
    let lines = Lines()
    let recorded = RecordedPool(granule: GranuleSize(order: 6), name: "life") { lines.append($0) }
    try recorded.add(
      start: VirtualAddress(0x10_0040), size: 64 * 300, physical: PhysicalAddress(0x8000_0040))
    try recorded.add(start: VirtualAddress(0x20_0000), size: 64 * 200, owner: Owner(7))
    var generator = SystemRandomNumberGenerator()
    var held: [Allocation] = []
    let fits: [Fit?] = [nil, .best, .firstAligned(256), .orderAligned, .fixed(offset: 640)]
    var failures = 0
    for step in 0..<2000 {
      if step == 1000 { try recorded.setFit(.best) }
      if held.count > 20, Bool.random(using: &generator) {
        try recorded.free(held.remove(at: Int.random(in: 0..<held.count, using: &generator)))
      } else {
        let size = ByteCount(UInt64.random(in: 1...1500, using: &generator))
        do {
          held.append(
            try recorded.allocate(size, fit: fits.randomElement(using: &generator) ?? nil))
        } catch {
          failures += 1
        }
      }
    }
    #expect(failures > 0)
    try expectReplayed(lines, records: 2000 + 5)
  }

  @Test func `a pool that has lived already is recorded from what it holds`() throws {
    let pool = Pool(granule: GranuleSize(order: 6), fit: .best)
    try pool.add(
      start: VirtualAddress(0x10_0040), size: 64 * 100 + 7, physical: PhysicalAddress(0x8000_0040))
    try pool.add(start: VirtualAddress(0x20_0000), size: 64 * 70, owner: Owner(7))
    try pool.add(start: VirtualAddress(0x30_0000), size: 63)
    var held: [Allocation] = []
    while let one = try? pool.allocate(ByteCount(UInt64.random(in: 1...400))) { held.append(one) }
    held.shuffle()
    for _ in 0..<(held.count / 2) { try pool.free(held.removeLast()) }

    let lines = Lines()
    let recorded = RecordedPool(recording: pool, name: "later") { lines.append($0) }
    let begin = lines.all.withLock { $0.count }
    var failures = 0
    for step in 0..<500 {
      if step % 2 == 0, let one = held.popLast() {
        try recorded.free(one)
      } else {
        let size = ByteCount(UInt64.random(in: 1...900))
        do {
          held.append(try recorded.allocate(size, fit: step % 3 == 0 ? .firstAligned(256) : nil))
        } catch {
          failures += 1
        }
      }
      held.shuffle()
    }
    #expect(begin > 10 && failures > 0)
    try expectReplayed(lines, records: begin - 1 + 500)
  }

  @Test func `misuse is a comment, and what comes after it is replayed`() throws {
    let lines = Lines()
    let recorded = RecordedPool(granule: .page, fit: .orderAligned, name: "misuse") {
      lines.append($0)
    }
    try recorded.add(start: VirtualAddress(0x10_0000), size: 65536)
    let made = try recorded.allocate(5000)
    try recorded.free(made)
    #expect(throws: PoolError.notAllocated(VirtualAddress(0x10_0000))) { try recorded.free(made) }
    let own = Fit.custom { bitmap, request in GranuleIndex(3) }
    let other = try recorded.allocate(4096, fit: own)
    #expect(other.start == VirtualAddress(0x10_3000))
    try recorded.free(other)
    #expect(lines.text.contains("# refused: free: the granule at 0x0000000000100000"))
    #expect(lines.text.contains("# an own algorithm: A 2 1000 = 103000 0"))
  }
}
