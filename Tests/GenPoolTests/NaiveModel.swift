import GenPool

/// The allocator written down as plainly as the semantics allow: an array of Booleans a chunk, every
/// search a loop over granules. Slow, and the judge of the real one.
struct NaiveModel {
  struct Chunk {
    let start: UInt64
    let size: UInt64
    let physical: UInt64?
    let owner: UInt?
    var available: UInt64
    var taken: [Bool]
  }

  enum Answer: Equatable {
    case address(UInt64, owner: UInt?)
    case refused
  }

  let order: UInt64
  /// Newest first.
  var chunks: [Chunk] = []

  var granule: UInt64 { 1 << order }

  mutating func add(start: UInt64, size: UInt64, physical: UInt64?, owner: UInt?) {
    let taken = [Bool](repeating: false, count: Int(size >> order))
    chunks.insert(
      Chunk(
        start: start, size: size, physical: physical, owner: owner, available: size, taken: taken),
      at: 0)
  }

  mutating func allocate(_ size: UInt64, _ fit: NaiveFit) -> Answer {
    guard size > 0 else { return .refused }
    let count = Int((size + granule - 1) >> order)
    for index in chunks.indices where size <= chunks[index].available {
      guard
        let place = fit.place(
          in: chunks[index].taken, count: count, chunkStart: chunks[index].start, order: order)
      else { continue }
      for granule in place..<(place + count) { chunks[index].taken[granule] = true }
      chunks[index].available -= UInt64(count) << order
      return .address(
        chunks[index].start + UInt64(place) << order, owner: chunks[index].owner)
    }
    return .refused
  }

  mutating func free(_ start: UInt64, _ size: UInt64) -> Answer {
    guard
      let index = chunks.firstIndex(where: { start >= $0.start && start - $0.start < $0.size })
    else { return .refused }
    let chunk = chunks[index]
    guard size <= chunk.size - (start - chunk.start) else { return .refused }
    let first = Int((start - chunk.start) >> order)
    let count = Int((size + granule - 1) >> order)
    guard first + count <= chunk.taken.count || count == 0 else { return .refused }
    for granule in first..<(first + count) where !chunk.taken[granule] { return .refused }
    for granule in first..<(first + count) { chunks[index].taken[granule] = false }
    chunks[index].available += UInt64(count) << order
    return .address(start, owner: chunk.owner)
  }

  var available: UInt64 { chunks.reduce(0) { $0 + $1.available } }

  /// Start and length in bytes of each maximal free run.
  var freeRuns: [[UInt64]] {
    var runs: [[UInt64]] = []
    for chunk in chunks {
      var index = 0
      while index < chunk.taken.count {
        guard !chunk.taken[index] else {
          index += 1
          continue
        }
        var end = index
        while end < chunk.taken.count, !chunk.taken[end] { end += 1 }
        runs.append([chunk.start + UInt64(index) << order, UInt64(end - index) << order])
        index = end
      }
    }
    return runs
  }
}

/// The five algorithms, each as its definition reads.
enum NaiveFit: CustomStringConvertible {
  case first
  case aligned(UInt64)
  case orderAligned
  case best
  case fixed(UInt64)

  func place(
    in taken: [Bool], count: Int, chunkStart: UInt64, order: UInt64, from start: Int = 0
  ) -> Int? {
    let granule: UInt64 = 1 << order
    switch self {
    case .first: return search(taken, count, mask: 0, offset: 0, from: start)
    case .aligned(let align):
      return search(
        taken, count, mask: Int((align + granule - 1) / granule) - 1,
        offset: Int((chunkStart & (align - 1)) >> order), from: start)
    case .orderAligned:
      var width = 1
      while width < count { width *= 2 }
      return search(taken, count, mask: width - 1, offset: 0, from: start)
    case .best:
      var best: (place: Int, length: Int)?
      var index = start
      while index < taken.count {
        guard !taken[index] else {
          index += 1
          continue
        }
        var end = index
        while end < taken.count, !taken[end] { end += 1 }
        if end - index >= count, best.map({ end - index < $0.length }) ?? true {
          best = (index, end - index)
        }
        index = end
      }
      return best?.place
    case .fixed(let offset):
      guard offset % granule == 0 else { return nil }
      let place = Int(offset >> order)
      return isFree(taken, place, count) && start == 0 ? place : nil
    }
  }

  /// The kernel's zero-area search, one granule at a time.
  private func search(
    _ taken: [Bool], _ count: Int, mask: Int, offset: Int, from start: Int
  ) -> Int? {
    var index = start
    while true {
      while index < taken.count, taken[index] { index += 1 }
      guard index < taken.count else { return nil }
      index = ((index + offset + mask) & ~mask) - offset
      guard index + count <= taken.count else { return nil }
      guard let hit = (index..<(index + count)).first(where: { taken[$0] }) else { return index }
      index = hit + 1
    }
  }

  private func isFree(_ taken: [Bool], _ place: Int, _ count: Int) -> Bool {
    place + count <= taken.count && !taken[place..<(place + count)].contains(true)
  }

  /// The same, as the pool knows it.
  var fit: Fit {
    switch self {
    case .first: .first
    case .aligned(let align): .firstAligned(ByteCount(align))
    case .orderAligned: .orderAligned
    case .best: .best
    case .fixed(let offset): .fixed(offset: ByteCount(offset))
    }
  }

  var description: String { "\(fit)" }
}

/// Steele, Lea and Flood's generator: seeded, so that a failure can be run again.
struct SplitMix64: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) {
    state = seed
  }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
