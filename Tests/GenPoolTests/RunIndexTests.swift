import GenPool
import Reference
import Testing

/// The index against the reference model in worlds so small that every bitmap can be tried, cut into
/// blocks and nodes so small that every border and level lies in them.
struct RunIndexTests {
  private static let order: UInt64 = 4

  private func index<Shape: IndexShape>(_: Shape.Type, _ taken: [Bool], origin: UInt64) -> RunIndex<
    Shape
  >? {
    guard let bitmap = GranuleBitmap(taken) else {
      return nil
    }
    return RunIndex(bitmap, origin: origin)
  }

  /// Every search for `count` granules gives the reference model's place.
  private func expectEqualPlaces<Shape: IndexShape>(
    _ index: inout RunIndex<Shape>, _ taken: [Bool], origin: UInt64, counts: [Int]
  ) {
    func expect(_ got: GranuleIndex?, _ fit: ReferenceFit, _ count: Int) {
      let expected = fit.place(
        in: taken, count: count, chunkStart: origin << Self.order, order: Self.order)
      // Recording every comparison as an expectation would take longer than the comparisons.
      if got?.rawValue != expected {
        Issue.record(
          "\(taken) at \(origin): \(count) \(fit): \(got as Any), not \(expected as Any)")
      }
    }
    for count in counts {
      let granules = GranuleCount(count)
      expect(index.firstFit(granules), .first, count)
      expect(index.bestFit(granules), .best, count)
      let width = Int.bitWidth - (count - 1).leadingZeroBitCount
      expect(
        index.firstFit(granules, alignedTo: width, fromChunkStart: true), .orderAligned, count)
      for order in 0...5 {
        let align = ReferenceFit.aligned(1 << (UInt64(order) + Self.order))
        expect(index.firstFit(granules, alignedTo: order), align, count)
      }
      for place in 0...taken.count {
        let run = GranuleRun(first: GranuleIndex(place), count: granules)
        let isFree = index.isFree(run)
        expect(isFree ? run.first : nil, .fixed(UInt64(place) << Self.order), count)
      }
    }
  }

  /// Every bitmap: every search, and after every change of it the invariant and the searches again.
  private func tryEverything<Shape: IndexShape>(_ shape: Shape.Type, granules: Int, origin: UInt64)
  {
    for bits in 0..<(1 << granules) {
      let taken = (0..<granules).map { bits >> $0 & 1 == 1 }
      guard var index = index(shape, taken, origin: origin) else {
        Issue.record("no memory")
        return
      }
      expectEqualPlaces(&index, taken, origin: origin, counts: Array(1...(granules + 1)))
      for first in 0..<granules {
        for end in (first + 1)...granules {
          let values = Set(taken[first..<end])
          guard values.count == 1, let isTaken = values.first else { break }
          // There and back: both are changes.
          let run = GranuleRun(first: GranuleIndex(first), count: GranuleCount(end - first))
          var changed = taken
          for granule in first..<end { changed[granule] = !isTaken }
          isTaken ? index.free(run) : index.allocate(run)
          if let rule = index.brokenRule { Issue.record("\(taken) to \(changed): \(rule)") }
          isTaken ? index.allocate(run) : index.free(run)
          if let rule = index.brokenRule { Issue.record("\(changed) to \(taken): \(rule)") }
        }
      }
      expectEqualPlaces(&index, taken, origin: origin, counts: [1, 2, granules / 2 + 1])
    }
  }

  /// Every bitmap: the ways that most calls take, by an index that was asked for nothing else, in which
  /// there are fronts, and by one that was asked for everything.
  private func tryShortWays<Shape: IndexShape>(_ shape: Shape.Type, granules: Int) {
    for bits in 0..<(1 << granules) {
      let taken = (0..<granules).map { bits >> $0 & 1 == 1 }
      for isAskedForAll in [false, true] {
        for count in 1...(granules + 1) {
          guard var index = index(shape, taken, origin: 1) else { return }
          if isAskedForAll { expectEqualPlaces(&index, taken, origin: 1, counts: [1]) }
          var now = taken
          // The first that is long may make a front, from which the others take.
          for count in [count, 1, 2] {
            let place = ReferenceFit.first.place(in: now, count: count, chunkStart: 0, order: 0)
            let got = index.allocateFirstFit(GranuleCount(count))
            if let place { for granule in place..<(place + count) { now[granule] = true } }
            if got?.rawValue != place || index.brokenRule != nil {
              Issue.record("\(taken), \(count): \(got as Any), \(index.brokenRule ?? "")")
              return
            }
          }
          if count <= 2 { tryFrees(&index, now) }
        }
      }
    }
  }

  /// Every run, allocated or not, given back on the short way and taken again.
  private func tryFrees<Shape: IndexShape>(_ index: inout RunIndex<Shape>, _ taken: [Bool]) {
    for first in taken.indices {
      for end in (first + 1)...taken.count {
        let run = GranuleRun(first: GranuleIndex(first), count: GranuleCount(end - first))
        let isFreed = index.freeInsideBlock(run)
        if isFreed, taken[first..<end].contains(false) { Issue.record("\(taken): \(run) was free") }
        if let rule = index.brokenRule { Issue.record("\(taken) without \(run): \(rule)") }
        for granule in taken.indices {
          let isTaken = taken[granule] && !(isFreed && first..<end ~= granule)
          if index.bitmap.isAllocated(GranuleIndex(granule)) != isTaken {
            Issue.record("\(taken) without \(run): granule \(granule)")
          }
        }
        if isFreed { index.allocate(run) }
      }
    }
  }

  @Test func `the ways that most calls take keep the index true in every small world`() {
    tryShortWays(TwoByTwo.self, granules: 7)
    tryShortWays(TwoByTwo.self, granules: 9)
    tryShortWays(FourByTwo.self, granules: 8)
    tryShortWays(FourByTwo.self, granules: 10)
    tryShortWays(OneByFour.self, granules: 5)
    tryShortWays(OneByFour.self, granules: 8)
  }

  /// The ways to take a run.
  private enum Way: CaseIterable {
    case first, aligned, orderAligned, best, fixed
  }

  /// Takes `count` granules; where, and where the reference model does.
  private func take<Shape: IndexShape>(
    _ count: Int, _ way: Way, _ index: inout RunIndex<Shape>, _ taken: [Bool], origin: UInt64
  ) -> (got: Int?, expected: Int?) {
    let indexed: IndexedFit
    let fit: ReferenceFit
    switch way {
    case .first: (indexed, fit) = (.first, .first)
    case .aligned:
      (indexed, fit) = (.aligned(order: 1 + Int(Self.order)), .aligned(2 << Self.order))
    case .orderAligned: (indexed, fit) = (.orderAligned, .orderAligned)
    case .best: (indexed, fit) = (.best, .best)
    case .fixed:
      // The lowest free granule: in an empty world the front's.
      let first = UInt64(taken.firstIndex(of: false) ?? 0) << Self.order
      (indexed, fit) = (.fixed(offset: first), .fixed(first))
    }
    let got = index.allocate(GranuleCount(count), by: indexed, GranuleSize(order: Int(Self.order)))
    let place = fit.place(
      in: taken, count: count, chunkStart: origin << Self.order, order: Self.order)
    return (got?.rawValue, place)
  }

  /// Every bitmap, and every two fits in turns, by an index that was asked for nothing and by one
  /// that was asked for everything before: the lowest run stands as a front whoever takes from it,
  /// and whoever looks elsewhere meanwhile.
  private func tryFronts<Shape: IndexShape>(_ shape: Shape.Type, granules: Int, origin: UInt64) {
    for bits in 0..<(1 << granules) {
      let taken = (0..<granules).map { bits >> $0 & 1 == 1 }
      for (one, other) in Way.allCases.flatMap({ one in Way.allCases.map { (one, $0) } }) {
        for isAskedForAll in [false, true] {
          guard var index = index(shape, taken, origin: origin) else { return }
          if isAskedForAll {
            expectEqualPlaces(&index, taken, origin: origin, counts: [1, granules])
          }
          var now = taken
          var last: GranuleRun?
          for (way, count) in [(one, 1), (other, 1), (one, 2), (other, 1)] {
            let (got, expected) = take(count, way, &index, now, origin: origin)
            guard got == expected, index.brokenRule == nil else {
              Issue.record(
                "\(taken), \(one), \(other): \(got as Any), not \(expected as Any); \(index.brokenRule ?? "")"
              )
              return
            }
            guard let got else { continue }
            for granule in got..<(got + count) { now[granule] = true }
            last = GranuleRun(first: GranuleIndex(got), count: GranuleCount(count))
          }
          guard let last else { continue }
          if !index.freeInsideBlock(last) { index.free(last) }
          for granule in last.first.rawValue..<last.end.rawValue { now[granule] = false }
          if let rule = index.brokenRule { Issue.record("\(taken), \(one), \(other): \(rule)") }
          expectEqualPlaces(&index, now, origin: origin, counts: [1, 2])
        }
      }
    }
  }

  @Test func `every two fits in turns keep the index true in every small world`() {
    tryFronts(TwoByTwo.self, granules: 6, origin: 1)
    tryFronts(FourByTwo.self, granules: 7, origin: 2)
    tryFronts(OneByFour.self, granules: 4, origin: 1)
  }

  @Test(arguments: [(9, 0), (8, 3), (7, 5), (0, 0), (1, 1)] as [(Int, UInt64)])
  func `every change in every world of blocks of two granules keeps the index true`(
    granules: Int, origin: UInt64
  ) {
    tryEverything(TwoByTwo.self, granules: granules, origin: origin)
  }

  @Test(arguments: [(10, 0), (9, 1), (8, 6)] as [(Int, UInt64)])
  func `every change in every world of blocks of four granules keeps the index true`(
    granules: Int, origin: UInt64
  ) {
    tryEverything(FourByTwo.self, granules: granules, origin: origin)
  }

  @Test func `every change in every world of blocks of one granule keeps the index true`() {
    for granules in 6...8 { tryEverything(OneByFour.self, granules: granules, origin: 2) }
  }

  /// An index that was made empty, of all sizes up to many blocks and some levels: it is as if made
  /// from the bitmap, and has every place.
  private func tryEmpty<Shape: IndexShape>(_ shape: Shape.Type, granules: Int) {
    guard var index = RunIndex<Shape>(count: GranuleCount(granules), origin: 3) else {
      Issue.record("no memory")
      return
    }
    if let rule = index.brokenRule { Issue.record("\(granules) granules: \(rule)") }
    #expect(index.longest.rawValue == granules)
    #expect(index.runCount == (granules > 0 ? 1 : 0))
    let taken = [Bool](repeating: false, count: granules)
    let counts = Set([1, 2, granules / 2 + 1, granules + 1]).sorted()
    expectEqualPlaces(&index, taken, origin: 3, counts: counts)
    if let rule = index.brokenRule { Issue.record("\(granules) granules, asked: \(rule)") }
    guard granules > 0 else { return }
    let all = GranuleRun(first: .zero, count: GranuleCount(granules))
    index.allocate(all)
    if let rule = index.brokenRule { Issue.record("\(granules) granules, taken: \(rule)") }
    index.free(all)
    if let rule = index.brokenRule { Issue.record("\(granules) granules, freed: \(rule)") }
  }

  @Test func `an index that is made empty is what one made from the bitmap would be`() {
    for granules in 0...40 {
      tryEmpty(TwoByTwo.self, granules: granules)
      tryEmpty(FourByTwo.self, granules: granules)
      tryEmpty(OneByFour.self, granules: max(1, granules))
    }
    for granules in [1, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097, 5000] {
      tryEmpty(NativeShape.self, granules: granules)
      tryEmpty(PortableShape.self, granules: granules)
    }
  }

  /// Random lives, in which runs are many blocks long and trees have all their levels.
  private func live<Shape: IndexShape>(_ shape: Shape.Type, granules: Int, seed: UInt64, steps: Int)
  {
    var random = SplitMix64(seed: seed)
    let origin = UInt64.random(in: 0...70, using: &random)
    var taken = [Bool](repeating: false, count: granules)
    guard var index = index(shape, taken, origin: origin) else {
      Issue.record("no memory")
      return
    }
    for step in 0..<steps {
      let place = Int.random(in: 0..<granules, using: &random)
      let value = taken[place]
      let most = Bool.random(using: &random) ? 6 : Bool.random(using: &random) ? 90 : granules
      let wanted = place + Int.random(in: 1...most, using: &random)
      let end = (place..<min(granules, wanted)).first { taken[$0] != value }
      let run = GranuleRun(
        first: GranuleIndex(place), count: GranuleCount((end ?? min(granules, wanted)) - place))
      for granule in place..<run.end.rawValue { taken[granule] = !value }
      if value {
        if !index.freeInsideBlock(run) { index.free(run) }
      } else {
        index.allocate(run)
      }
      if let rule = index.brokenRule {
        Issue.record("\(granules) granules, seed \(seed), step \(step): \(rule)")
        return
      }
      expectEqualPlaces(
        &index, taken, origin: origin, counts: [Int.random(in: 1...most, using: &random)])
      if Shape.blockOrder == 6 { expectKnownRuns(&index, "\(granules) granules, seed \(seed)") }
    }
  }

  /// A short life with one search after each change: what was asked for is built step by step
  /// meanwhile.
  private func liveWhileBuilding<Shape: IndexShape>(
    _ shape: Shape.Type, granules: Int, seed: UInt64
  ) {
    var random = SplitMix64(seed: seed)
    let origin = UInt64.random(in: 0...70, using: &random)
    let share = Int.random(in: 1...9, using: &random)
    var taken = (0..<granules).map { _ in Int.random(in: 0..<10, using: &random) < share }
    guard var index = index(shape, taken, origin: origin) else {
      Issue.record("no memory")
      return
    }
    for step in 0..<12 {
      let count = Int.random(in: 1...6, using: &random)
      let (got, expected) = take(
        count, Way.allCases.randomElement(using: &random) ?? .best, &index, taken, origin: origin)
      if got != expected {
        Issue.record("seed \(seed), step \(step): \(got as Any), not \(expected as Any)")
      }
      for granule in got.map({ $0..<($0 + count) }) ?? 0..<0 { taken[granule] = true }
      if let rule = index.brokenRule { Issue.record("seed \(seed), step \(step): \(rule)") }
      let first = Int.random(in: 0..<granules, using: &random)
      guard taken[first] else { continue }
      let end = (first..<min(granules, first + 9)).first { !taken[$0] } ?? min(granules, first + 9)
      index.free(GranuleRun(first: GranuleIndex(first), count: GranuleCount(end - first)))
      for granule in first..<end { taken[granule] = false }
      if let rule = index.brokenRule { Issue.record("seed \(seed), step \(step), freed: \(rule)") }
    }
  }

  @Test func `what is asked for late is true while it is built`() {
    for seed in 0..<300 as Range<UInt64> {
      liveWhileBuilding(TwoByTwo.self, granules: 23, seed: seed)
      liveWhileBuilding(FourByTwo.self, granules: 41, seed: seed)
      liveWhileBuilding(OneByFour.self, granules: 13, seed: seed)
    }
    for seed in 0..<100 as Range<UInt64> {
      liveWhileBuilding(Steps.self, granules: 1300, seed: seed)
      // In one step.
      liveWhileBuilding(NativeShape.self, granules: 300, seed: seed)
    }
  }

  /// Blocks and nodes as the pool's, built in steps of one block.
  private enum Steps: TinyShape {
    static var blockOrder: Int { 6 }
    static var fanOrder: Int { 6 }
  }

  /// What is known without the lock of the longest run from an aligned place is so.
  private func expectKnownRuns<Shape: IndexShape>(_ index: inout RunIndex<Shape>, _ life: String) {
    // This makes the trees.
    let all = (1...6).map { index.longest(alignedTo: $0, fromChunkStart: true).rawValue }
    let known = index.alignedRuns
    for (order, longest) in zip(1...6, all) {
      if known.longest(order) != (longest < 64 ? longest : nil) {
        Issue.record("\(life), order \(order): \(known.longest(order) as Any), not \(longest)")
      }
    }
  }

  @Test(arguments: [1, 2, 3] as [UInt64])
  func `small blocks stay true over a long life`(seed: UInt64) {
    live(TwoByTwo.self, granules: 150, seed: seed, steps: 60)
    live(FourByTwo.self, granules: 200, seed: seed, steps: 60)
    live(OneByFour.self, granules: 90, seed: seed, steps: 60)
  }

  @Test(arguments: [63, 64, 65, 129, 700] as [Int])
  func `the pool's blocks stay true over a long life, with and without vector instructions`(
    granules: Int
  ) {
    live(NativeShape.self, granules: granules, seed: 4, steps: 80)
    live(PortableShape.self, granules: granules, seed: 5, steps: 80)
    live(VectorShape.self, granules: granules, seed: 6, steps: 80)
  }

  /// The first fit in a map of which all but a few granules are taken.
  private func expectSameWay<Shape: IndexShape>(_ shape: Shape.Type, granules: Int, seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var words = [UInt64](repeating: ~0, count: (granules + 63) / 64)
    for _ in 0..<64 {
      let start = Int.random(in: 0..<granules, using: &random)
      let end = start + Int.random(in: 1...64, using: &random)
      for granule in start..<min(end, granules) {
        words[granule / 64] &= ~(1 << UInt64(granule % 64))
      }
    }
    guard let plain = GranuleBitmap(count: GranuleCount(granules), words: words),
      let bitmap = GranuleBitmap(count: GranuleCount(granules), words: words),
      var index = RunIndex<Shape>(bitmap, origin: 0)
    else {
      Issue.record("no memory")
      return
    }
    for length in 1...64 {
      let count = GranuleCount(length)
      let request = Fit.Request(
        start: GranuleIndex(0), count: count, chunkStart: ByteCount(1 << 40), granule: .page)
      let place = Fit.first.place(request, in: plain)
      let found = index.firstFit(count)
      if found != place { Issue.record("\(length): \(String(describing: found))") }
      let order = length % 6 + 1
      let aligned = Fit.firstAligned(ByteCount(4096 << UInt64(order))).place(request, in: plain)
      let foundAligned = index.firstFit(count, alignedTo: order)
      if foundAligned != aligned {
        Issue.record("\(length), order \(order): \(String(describing: foundAligned))")
      }
    }
  }

  // Trees of one level, of two with two, four and more nodes below the root, and of three.
  @Test(arguments: [4096, 4097, 12_300, 16_384, 16_385, 262_145] as [Int])
  func `a tree leads to the first fit however the machine goes down it`(granules: Int) {
    for seed in 0..<20 as Range<UInt64> {
      expectSameWay(NativeShape.self, granules: granules, seed: seed)
      expectSameWay(VectorShape.self, granules: granules, seed: seed)
      expectSameWay(PortableShape.self, granules: granules, seed: seed)
    }
  }
}
