import GenPool
import Reference
import Testing

/// The index's batches against single calls on a twin, in worlds so small that every bitmap can be
/// tried, cut into blocks and nodes so small that every border and level lies in them.
struct RunIndexBatchTests {
  /// Blocks of 8 granules, nodes of 4 blocks: several runs in a block.
  private enum EightByFour: TinyShape {
    static var blockOrder: Int { 3 }
    static var fanOrder: Int { 2 }
    static var narrowLimit: Int { 60 }
  }

  /// The parts that an index keeps beside the first fit's, once something asked for them.
  private enum Asked: CaseIterable { case forNothing, forAlignment, forLength, forAll }

  private func index<Shape: IndexShape>(
    _: Shape.Type, _ taken: [Bool], _ asked: Asked
  ) throws -> RunIndex<Shape> {
    guard let bitmap = GranuleBitmap(taken),
      var index = RunIndex<Shape>(bitmap, origin: 1)
    else { throw PoolError.noMemory }
    if asked == .forAlignment || asked == .forAll {
      for order in 1...3 { _ = index.firstFit(GranuleCount(1), alignedTo: order) }
    }
    if asked == .forLength || asked == .forAll { _ = index.bestFit(GranuleCount(1)) }
    return index
  }

  private func taken<Shape: IndexShape>(_ index: borrowing RunIndex<Shape>) -> [Bool] {
    (0..<index.bitmap.count.rawValue).map { index.bitmap.isAllocated(GranuleIndex($0)) }
  }

  /// Takes a batch, and compares places, bitmap and invariant with single calls on a twin.
  private func expectBatchAsSingles<Shape: IndexShape>(
    _ batch: inout RunIndex<Shape>, _ twin: inout RunIndex<Shape>, count: Int, times: Int,
    _ comment: @autoclosure () -> String
  ) -> [Int] {
    var places: [Int] = []
    let done = batch.allocateFirstFit(GranuleCount(count), times: times) { first, row in
      for number in 0..<row { places.append(first.rawValue + number * count) }
    }
    var expected: [Int] = []
    while expected.count < times, let place = twin.allocateFirstFit(GranuleCount(count)) {
      expected.append(place.rawValue)
    }
    // Recording every comparison as an expectation would take longer than the comparisons.
    if places != expected || done != expected.count || taken(batch) != taken(twin) {
      Issue.record("\(comment()): \(times) of \(count): \(places), not \(expected)")
    }
    if let rule = batch.brokenRule { Issue.record("\(comment()): \(times) of \(count): \(rule)") }
    return places
  }

  /// Frees runs in a batch that was started and ends here; whether all of them could be.
  private func free<Shape: IndexShape>(
    _ runs: [GranuleRun], _ index: inout RunIndex<Shape>
  ) -> Bool {
    var pending = PendingFrees()
    for run in runs where !index.free(run, &pending) {
      index.flush(&pending)
      return false
    }
    index.flush(&pending)
    return true
  }

  private func run(_ first: Int, _ count: Int) -> GranuleRun {
    GranuleRun(first: GranuleIndex(first), count: GranuleCount(count))
  }

  /// Every bitmap, every length, every number of times, by an index that was asked for nothing or
  /// for more, and once more after the first batch, when there may be a front.
  private func tryBatches<Shape: IndexShape>(
    _ shape: Shape.Type, granules: Int, every step: Int = 1
  ) throws {
    for bits in stride(from: 0, to: 1 << granules, by: step) {
      let start = (0..<granules).map { bits >> $0 & 1 == 1 }
      for asked in bits % 16 == 5 ? Asked.allCases : [.forNothing] {
        for count in 1...granules {
          for times in 1...(granules / count + 1) {
            var batch = try index(shape, start, asked)
            var twin = try index(shape, start, asked)
            let comment = "\(start), \(asked)"
            let places = expectBatchAsSingles(
              &batch, &twin, count: count, times: times, comment)
            _ = expectBatchAsSingles(&batch, &twin, count: 1, times: 2, comment + ", again")
            // All of it comes back, in the order of the batch and against it.
            for runs in [places.map { run($0, count) }, places.reversed().map { run($0, count) }] {
              let before = taken(batch)
              if !free(runs, &batch) { Issue.record("\(comment): \(runs) cannot be freed") }
              var expected = before
              for run in runs {
                for granule in run.first.rawValue..<run.end.rawValue { expected[granule] = false }
              }
              if taken(batch) != expected { Issue.record("\(comment): \(runs) are not free") }
              if let rule = batch.brokenRule { Issue.record("\(comment) without \(runs): \(rule)") }
              for run in runs { batch.allocate(run) }
              if let rule = batch.brokenRule { Issue.record("\(comment) with \(runs): \(rule)") }
            }
          }
        }
      }
    }
  }

  @Test func `a batch takes the places of single calls in every small world`() throws {
    try tryBatches(TwoByTwo.self, granules: 7)
    try tryBatches(FourByTwo.self, granules: 8)
    try tryBatches(OneByFour.self, granules: 5)
    try tryBatches(EightByFour.self, granules: 9, every: 5)
  }

  /// Every bitmap and every set of its granules, freed granule by granule in a batch.
  private func trySets<Shape: IndexShape>(_ shape: Shape.Type, granules: Int) throws {
    for bits in 0..<(1 << granules) {
      let start = (0..<granules).map { bits >> $0 & 1 == 1 }
      // Sets of granules, of which some are free: then nothing after the first of those happens.
      for set in 1..<(1 << granules) {
        let isAllowed = set & ~bits == 0
        guard isAllowed || (set ^ bits) % 7 == 0 else { continue }
        var batch = try index(shape, start, set % 11 == 0 ? .forAll : .forNothing)
        let runs = (0..<granules).filter { set >> $0 & 1 == 1 }.map { run($0, 1) }
        let isFreed = free(runs, &batch)
        var expected = start
        for run in runs {
          guard expected[run.first.rawValue] else { break }
          expected[run.first.rawValue] = false
        }
        if isFreed != isAllowed || taken(batch) != expected {
          Issue.record("\(start) without \(runs): \(isFreed), \(taken(batch))")
        }
        if let rule = batch.brokenRule { Issue.record("\(start) without \(runs): \(rule)") }
      }
    }
  }

  @Test func `a batch frees every set of granules in every small world`() throws {
    try trySets(TwoByTwo.self, granules: 7)
    try trySets(FourByTwo.self, granules: 7)
    try trySets(OneByFour.self, granules: 5)
    try trySets(EightByFour.self, granules: 8)
  }

  @Test func `a batch does not free granules twice`() throws {
    var batch = try index(FourByTwo.self, [Bool](repeating: true, count: 8), .forNothing)
    for runs in [
      [run(1, 1), run(1, 1)], [run(1, 2), run(2, 1)], [run(0, 1), run(5, 1), run(0, 1)],
      [run(2, 3), run(4, 1)], [run(4, 1), run(2, 3)], [run(0, 8), run(7, 1)],
    ] {
      #expect(!free(runs, &batch), "\(runs)")
      #expect(batch.brokenRule == nil)
      for run in runs.dropLast() { batch.allocate(run) }
      #expect(taken(batch) == [Bool](repeating: true, count: 8), "\(runs)")
    }
  }

  /// A long life of an index of the shape that the pool uses, with single calls between the
  /// batches.
  private func live<Shape: IndexShape>(
    _ shape: Shape.Type, granules: Int, longest: Int, seed: UInt64
  ) throws {
    var random = SplitMix64(seed: seed)
    let empty = [Bool](repeating: false, count: granules)
    var batch = try index(shape, empty, .forNothing)
    var twin = try index(shape, empty, .forNothing)
    var held: [GranuleRun] = []
    for step in 0..<200 {
      let comment = "seed \(seed), step \(step)"
      if step == 150 {
        _ = batch.bestFit(GranuleCount(1))
        _ = twin.bestFit(GranuleCount(1))
      }
      if step == 175 { _ = batch.firstFit(GranuleCount(1), alignedTo: 2) }
      let count = Int.random(in: 1...longest, using: &random)
      let times = Int.random(in: 1...40, using: &random)
      let places = expectBatchAsSingles(&batch, &twin, count: count, times: times, comment)
      held += places.map { run($0, count) }
      held.shuffle(using: &random)
      var freed = Array(held.suffix(Int.random(in: 0...min(60, held.count), using: &random)))
      held.removeLast(freed.count)
      if Bool.random(using: &random) { freed.sort { $0.first < $1.first } }
      #expect(free(freed, &batch), "\(comment)")
      for run in freed { twin.free(run) }
      #expect(taken(batch) == taken(twin), "\(comment)")
      if let rule = batch.brokenRule { Issue.record("\(comment): \(rule)") }
    }
  }

  @Test(arguments: 1...3 as ClosedRange<UInt64>)
  func `batches and single calls agree over a long life`(seed: UInt64) throws {
    try live(NativeShape.self, granules: 9000, longest: 20, seed: seed)
    try live(NativeShape.self, granules: 5000, longest: 150, seed: seed)
    try live(PortableShape.self, granules: 700, longest: 5, seed: seed)
    try live(EightByFour.self, granules: 300, longest: 12, seed: seed)
  }
}
