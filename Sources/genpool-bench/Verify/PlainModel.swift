import GenPool

/// One chunk, a byte a granule, every search a loop over granules: what no optimisation can have
/// spoiled.
struct PlainModel {
  private(set) var taken: [Bool]
  /// The chunk's address in granules.
  let origin: Int

  init(granules: Int, origin: Int) {
    taken = [Bool](repeating: false, count: granules)
    self.origin = origin
  }

  enum Request {
    case first
    case aligned(order: Int)
    case orderAligned
    case best
    case fixed(Int)
    /// An own algorithm: the highest place.
    case last
  }

  /// Where the kernel puts `count` granules; nil for nowhere.
  func place(_ count: Int, _ request: Request) -> Int? {
    switch request {
    case .first: return firstFit(count, mask: 0, offset: 0)
    case .aligned(let order):
      let mask = 1 << order - 1
      return firstFit(count, mask: mask, offset: origin & mask)
    case .orderAligned:
      var width = 1
      while width < count { width *= 2 }
      return firstFit(count, mask: width - 1, offset: 0)
    case .best: return bestFit(count)
    case .fixed(let place):
      guard place + count <= taken.count else { return nil }
      return isAllFree(place, place + count) ? place : nil
    case .last:
      return stride(from: taken.count - count, through: 0, by: -1)
        .first { isAllFree($0, $0 + count) }
    }
  }

  private func isAllFree(_ first: Int, _ end: Int) -> Bool {
    for granule in first..<end where taken[granule] { return false }
    return true
  }

  private func firstFit(_ count: Int, mask: Int, offset: Int) -> Int? {
    let limit = taken.count
    var start = 0
    search: while true {
      while start < limit, taken[start] { start += 1 }
      let index = ((start + offset + mask) & ~mask) - offset
      guard start < limit, index + count <= limit else { return nil }
      for granule in index..<(index + count) where taken[granule] {
        start = granule + 1
        continue search
      }
      return index
    }
  }

  private func bestFit(_ count: Int) -> Int? {
    let limit = taken.count
    var best: Int?
    var shortest = Int.max
    var index = 0
    while index < limit {
      guard !taken[index] else {
        index += 1
        continue
      }
      let start = index
      while index < limit, !taken[index] { index += 1 }
      if index - start >= count, index - start < shortest {
        best = start
        shortest = index - start
      }
    }
    return best
  }

  mutating func set(_ first: Int, _ count: Int, _ value: Bool) {
    for granule in first..<(first + count) { taken[granule] = value }
  }
}
