import GenPool
import Reference
import Testing

/// Random lives in which all that a pool can do is mixed: its own fit, changed meanwhile, and others;
/// chunks that come, drain and go; tags; constraints. Every answer and error is the reference model's.
struct MixedLifeTests {
  /// Few granules, so that every border is near; and enough for trees of two levels.
  @Test(arguments: [(1, 150), (2, 150), (3, 700), (4, 700), (5, 4500)] as [(UInt64, UInt64)])
  func `whatever is mixed, a pool answers as the reference model`(seed: UInt64, most: UInt64) throws
  {
    var life = try MixedLife(seed: seed, most: most)
    for step in 0..<3000 {
      let (got, expected, what) = try life.step()
      if got != expected {
        Issue.record("seed \(seed) step \(step): \(what): \(got), not \(expected)")
        return
      }
      if step % 60 == 0 {
        life.pool.checkInvariants()
        #expect(life.pool.holdings == life.model.holdings, "seed \(seed) step \(step)")
        #expect(life.pool.available.rawValue == life.model.available, "seed \(seed) step \(step)")
      }
    }
    life.pool.checkInvariants()
    try life.end()
  }
}

/// A pool and its model, which are asked the same.
private struct MixedLife {
  let pool: Pool
  var model: MixedModel
  private var random: SplitMix64
  private let most: UInt64
  private var ownFit = ReferenceFit.first
  private var held: [(start: UInt64, size: UInt64)] = []
  private var next: UInt64 = 0x10_0000

  enum Answer: Equatable {
    case place(UInt64)
    case done
    case error(PoolError)
  }

  init(seed: UInt64, most: UInt64) throws {
    random = SplitMix64(seed: seed)
    self.most = most
    let order = [0, 4, 12][Int(seed % 3)]
    pool = Pool(granule: GranuleSize(order: order))
    model = MixedModel(order: UInt64(order))
    try addChunk()
    try addChunk()
  }

  private mutating func below(_ bound: UInt64) -> UInt64 { .random(in: 0..<bound, using: &random) }

  mutating func step() throws -> (got: Answer, expected: Answer, what: String) {
    switch below(200) {
    case 0: try addChunk()
    case 1: return removeChunk()
    case 2: try drainChunk()
    case 3:
      ownFit = below(3) == 0 ? fit() : .first
      try pool.setFit(ownFit.fit)
    case 4...12: return tag()
    case 13...20: return allocate(under: constraints())
    case 21...120 where model.isRoomy: return allocate()
    default: return free()
    }
    return (.done, .done, "")
  }

  // MARK: Chunks

  private mutating func addChunk() throws {
    let granule = model.granule
    guard model.chunks.count < 5 else { return }
    // Where one was removed, now and then.
    if below(2) == 0,
      let lost = model.lost.last(where: { lost in
        !model.chunks.contains {
          $0.start < lost.start + lost.size && lost.start < $0.start + $0.size
        }
      })
    {
      try add(lost.start, lost.size)
    } else {
      let size = (below(8) == 0 ? below(3) : 1 + below(most)) * granule + below(granule)
      try add(next + below(3) * (granule / 2), size)
      next += 2 * most * granule
    }
  }

  private mutating func add(_ start: UInt64, _ size: UInt64) throws {
    let bus: UInt64? = below(3) == 0 ? nil : 0xffff_0000 + below(64) * 16
    model.add(start, size, bus: bus)
    try pool.add(start: VirtualAddress(start), size: ByteCount(size), bus: bus.map(BusAddress.init))
  }

  private mutating func removeChunk() -> (Answer, Answer, String) {
    guard let index = model.chunks.indices.randomElement(using: &random) else {
      return (.done, .done, "")
    }
    let chunk = model.chunks[index]
    let held = ByteCount(chunk.size - chunk.available)
    let isForced = below(2) == 0
    let got = answer { () throws(PoolError) in
      try pool.remove(chunkAt: VirtualAddress(chunk.start), losingAllocations: isForced)
      return .done
    }
    guard isForced || held == .zero else { return (got, .error(.outstanding(held)), "remove") }
    model.remove(index)
    return (got, .done, "remove")
  }

  private mutating func drainChunk() throws {
    guard let index = model.chunks.indices.randomElement(using: &random) else { return }
    let start = VirtualAddress(model.chunks[index].start)
    model.chunks[index].isDraining.toggle()
    try model.chunks[index].isDraining ? pool.drain(chunkAt: start) : pool.undrain(chunkAt: start)
  }

  // MARK: Allocations

  private mutating func fit() -> ReferenceFit {
    switch below(5) {
    case 0: .aligned(1 << below(model.order + 9))
    case 1: .orderAligned
    case 2: .best
    case 3: .fixed(below(most) * model.granule)
    default: .first
    }
  }

  private mutating func size() -> UInt64 {
    let granules: UInt64 = [6, 6, 6, 64, 90, most][Int(below(6))]
    return 1 + below(granules * model.granule)
  }

  private mutating func constraints() -> Constraints {
    let bus = 0xffff_0000 + below(most) * model.granule
    let boundary = ByteCount(16 * model.granule << below(4))
    return switch below(3) {
    case 0: Constraints(below: BusAddress(bus))
    case 1: Constraints(boundary: boundary)
    default: Constraints(below: BusAddress(bus), boundary: boundary)
    }
  }

  private mutating func allocate(under rules: Constraints? = nil) -> (Answer, Answer, String) {
    let size = size()
    let given = below(2) == 0 ? fit() : nil
    let fit = given.map(\.fit)
    let pool = pool
    let isForDevice = below(3) == 0
    let got = answer { () throws(PoolError) in
      let bytes = ByteCount(size)
      if let rules {
        return .place(try pool.allocate(bytes, fit: fit, meeting: rules).start.rawValue)
      }
      return .place(
        isForDevice
          ? try pool.allocateDMA(bytes, fit: fit).start.rawValue
          : try pool.allocate(bytes, fit: fit).start.rawValue)
    }
    let expected = model.allocate(size, given ?? ownFit, rules)
    if case .place(let start) = expected { held.append((start, size)) }
    return (got, expected, "allocate \(size) \(given as Any) of \(ownFit), \(rules as Any)")
  }

  private mutating func range() -> (start: UInt64, size: UInt64) {
    guard !held.isEmpty, below(20) > 0 else { return (0x10_0000 + below(next), size()) }
    var (start, size) = held.swapRemove(Int(below(UInt64(held.count))))
    switch below(8) {
    case 0:  // In two parts.
      let kept = size / 2 / model.granule * model.granule
      if kept > 0 { held.append((start, kept)) }
      start += kept
      size -= kept
    case 1: size += 3 * model.granule
    default: break
    }
    return (start, size)
  }

  private mutating func free() -> (Answer, Answer, String) {
    let (start, size) = range()
    let pool = pool
    let got = answer { () throws(PoolError) in
      try pool.free(VirtualAddress(start), size: ByteCount(size))
      return .done
    }
    return (got, model.change(start, size, to: nil), "free \(start) \(size)")
  }

  private mutating func tag() -> (Answer, Answer, String) {
    let (start, size) = range()
    let tag = UInt32(below(4))
    let pool = pool
    let got = answer { () throws(PoolError) in
      try pool.tag(
        VirtualAddress(start), size: ByteCount(size), as: tag == 0 ? nil : Tag(tag))
      return .done
    }
    if got == .done { held.append((start, size)) }
    return (got, model.change(start, size, to: tag), "tag \(start) \(size)")
  }

  private func answer(_ body: () throws(PoolError) -> Answer) -> Answer {
    do throws(PoolError) { return try body() } catch { return .error(error) }
  }

  /// All that is held is freed, and the pool can end.
  func end() throws {
    for chunk in pool.chunks where chunk.isDraining { try pool.undrain(chunkAt: chunk.start) }
    for holding in pool.holdings { try pool.free(holding.start, size: holding.size) }
    pool.checkInvariants()
    try pool.destroy()
  }
}

/// The naive model, with what the kernel does not have.
private struct MixedModel {
  struct Chunk {
    let start: UInt64
    let size: UInt64
    let bus: UInt64?
    var available: UInt64
    var isDraining = false
    /// Nil where a granule is free, else its tag.
    var tags: [UInt32?]

    var taken: [Bool] { tags.map { $0 != nil } }
  }

  let order: UInt64
  /// Newest first.
  var chunks: [Chunk] = []
  /// Where chunks were that are gone.
  var lost: [(start: UInt64, size: UInt64)] = []

  var granule: UInt64 { 1 << order }

  init(order: UInt64) { self.order = order }

  var available: UInt64 { chunks.reduce(0) { $0 + ($1.isDraining ? 0 : $1.available) } }

  /// Whether a sixth is free: else nothing but failures would be left to see.
  var isRoomy: Bool { available > chunks.reduce(0) { $0 + $1.size } / 6 }

  mutating func add(_ start: UInt64, _ size: UInt64, bus: UInt64?) {
    let tags = [UInt32?](repeating: nil, count: Int(size >> order))
    chunks.insert(Chunk(start: start, size: size, bus: bus, available: size, tags: tags), at: 0)
  }

  mutating func remove(_ index: Int) {
    lost.append((chunks[index].start, chunks[index].size))
    chunks.remove(at: index)
  }

  mutating func allocate(
    _ size: UInt64, _ fit: ReferenceFit, _ rules: Constraints?
  ) -> MixedLife.Answer {
    let count = Int((size + granule - 1) >> order)
    var isPossible = rules == nil
    for index in chunks.indices {
      let chunk = chunks[index]
      let places = rules.map { admitted(count, chunk, $0) }
      if let places { isPossible = isPossible || !places.isEmpty }
      guard !chunk.isDraining, size <= chunk.available,
        let place = place(count, fit, chunk, among: places)
      else { continue }
      for granule in place..<(place + count) { chunks[index].tags[granule] = 0 }
      chunks[index].available -= UInt64(count) << order
      return .place(chunk.start + UInt64(place) << order)
    }
    if !isPossible, let rules {
      return .error(.unconstrainable(requested: ByteCount(size), unmet(rules, count)))
    }
    return .error(failure(size, count, fit))
  }

  /// The constraint that no chunk meets, by a look at every place.
  private func unmet(_ rules: Constraints, _ count: Int) -> UnmetConstraint {
    let long = chunks.filter { $0.tags.count >= count }
    guard !long.isEmpty else {
      let longest = chunks.map(\.tags.count).max() ?? 0
      return .size(longest: ByteCount(UInt64(longest) << order))
    }
    guard long.contains(where: { $0.bus != nil }) else { return .busAddress }
    let ends = long.flatMap { chunk in
      admitted(count, chunk, Constraints(boundary: rules.boundary)).map { place in
        (chunk.bus ?? 0) + UInt64(place + count) << order
      }
    }
    guard let lowest = ends.min() else { return .boundary(rules.boundary ?? .zero) }
    return .below(excess: ByteCount(lowest - (rules.below?.rawValue ?? 0)))
  }

  /// The places that a run of `count` may have in an empty chunk.
  private func admitted(_ count: Int, _ chunk: Chunk, _ rules: Constraints) -> [Int] {
    guard let bus = chunk.bus, count <= chunk.tags.count else { return [] }
    return (0...(chunk.tags.count - count)).filter { place in
      let first = bus + UInt64(place) << order
      let last = first + UInt64(count) << order - 1
      if let below = rules.below, last >= below.rawValue { return false }
      guard let boundary = rules.boundary?.rawValue else { return true }
      return first / boundary == last / boundary
    }
  }

  private func place(
    _ count: Int, _ fit: ReferenceFit, _ chunk: Chunk, among places: [Int]?
  ) -> Int? {
    let taken = chunk.taken
    guard let places else {
      return fit.place(in: taken, count: count, chunkStart: chunk.start, order: order)
    }
    let free = places.filter { !taken[$0..<($0 + count)].contains(true) }
    switch fit {
    case .first: return free.first
    case .last: return free.last
    case .aligned(let align): return free.first { isAligned($0, align, chunk) }
    case .orderAligned: return free.first { $0 % powerOfTwo(count) == 0 }
    case .fixed(let offset): return free.first { UInt64($0) << order == offset }
    case .best:
      return free.min { first, second in
        (run(around: first, taken), first) < (run(around: second, taken), second)
      }
    }
  }

  private func isAligned(_ place: Int, _ align: UInt64, _ chunk: Chunk) -> Bool {
    align <= granule || (chunk.start >> order + UInt64(place)) % (align >> order) == 0
  }

  private func powerOfTwo(_ count: Int) -> Int {
    var width = 1
    while width < count { width *= 2 }
    return width
  }

  private func run(around place: Int, _ taken: [Bool]) -> Int {
    let below = taken[..<place].reversed().prefix { !$0 }.count
    return below + taken[place...].prefix { !$0 }.count
  }

  /// Full, or what the fit lacks: the longest run from any place that it could choose.
  private func failure(_ size: UInt64, _ count: Int, _ fit: ReferenceFit) -> PoolError {
    let open = chunks.filter { !$0.isDraining }
    let available = ByteCount(available)
    guard open.contains(where: { $0.available >= size }) else {
      return .full(requested: ByteCount(size), available: available)
    }
    var longest = 0
    for chunk in open {
      var length = 0
      for (place, isTaken) in chunk.taken.enumerated().reversed() {
        length = isTaken ? 0 : length + 1
        let counts =
          switch fit {
          case .aligned(let align): isAligned(place, align, chunk)
          case .orderAligned: place % powerOfTwo(count) == 0
          case .first, .best, .fixed, .last: true
          }
        if counts { longest = max(longest, length) }
      }
    }
    let requested = ByteCount(size)
    let largest = ByteCount(UInt64(longest) << order)
    switch fit {
    case .fixed(let offset): return .notFree(requested: requested, offset: ByteCount(offset))
    case .aligned(let align) where align > granule:
      return .noAlignedRun(requested: requested, alignment: ByteCount(align), largest: largest)
    case .orderAligned where count > 1:
      let alignment = ByteCount(UInt64(powerOfTwo(count)) << order)
      return .noAlignedRun(requested: requested, alignment: alignment, largest: largest)
    case .first, .last, .best, .aligned, .orderAligned:
      return .fragmented(requested: requested, available: available, largest: largest)
    }
  }

  /// Frees or, given a tag, tags.
  mutating func change(_ start: UInt64, _ size: UInt64, to tag: UInt32?) -> MixedLife.Answer {
    let address = VirtualAddress(start)
    func holds(_ first: UInt64, _ size: UInt64) -> Bool { start >= first && start - first < size }
    guard let index = chunks.firstIndex(where: { holds($0.start, $0.size) }) else {
      let isGone = lost.contains { holds($0.start, $0.size) }
      return .error(isGone ? .gone(address) : .noSuchAddress(address))
    }
    let chunk = chunks[index]
    guard size <= chunk.size - (start - chunk.start) else {
      return .error(.pastChunkEnd(address, ByteCount(size)))
    }
    let first = Int((start - chunk.start) >> order)
    let end = first + Int((size + granule - 1) >> order)
    if let free = (first..<end).first(where: {
      $0 >= chunk.tags.count || chunk.tags[$0] == nil
    }) {
      return .error(.notAllocated(VirtualAddress(chunk.start + UInt64(free) << order)))
    }
    for granule in first..<end { chunks[index].tags[granule] = tag }
    if tag == nil { chunks[index].available += UInt64(end - first) << order }
    return .done
  }

  var holdings: [Holding] {
    var holdings: [Holding] = []
    for chunk in chunks {
      var first = 0
      while first < chunk.tags.count {
        let length = chunk.tags[first...].prefix { $0 == chunk.tags[first] }.count
        if let tag = chunk.tags[first] {
          holdings.append(
            Holding(
              start: VirtualAddress(chunk.start + UInt64(first) << order),
              size: ByteCount(UInt64(length) << order), tag: tag == 0 ? nil : Tag(tag)))
        }
        first += length
      }
    }
    return holdings
  }
}

extension Array {
  fileprivate mutating func swapRemove(_ index: Int) -> Element {
    swapAt(index, count - 1)
    return removeLast()
  }
}
