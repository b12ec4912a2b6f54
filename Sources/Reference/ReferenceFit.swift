package import GenPool

/// The placement algorithms as their definitions read: an array of Booleans, every search a loop
/// over granules, so that no optimisation can have spoiled them.
package enum ReferenceFit: CustomStringConvertible {
  case first
  /// At a multiple of so many bytes.
  case aligned(UInt64)
  case orderAligned
  case best
  /// At this offset in bytes.
  case fixed(UInt64)
  /// At the highest place: a custom algorithm.
  case last

  /// Returns the kernel's place for `count` granules at or after `start`; nil for none.
  package func place(
    in taken: [Bool], count: Int, chunkStart: UInt64, order: UInt64, from start: Int = 0
  ) -> Int? {
    let granule: UInt64 = 1 << order
    switch self {
    case .first: return Self.search(taken, count, mask: 0, offset: 0, from: start)
    case .aligned(let align):
      return Self.search(
        taken, count, mask: Int((align + granule - 1) / granule) - 1,
        offset: Int((chunkStart & (align - 1)) >> order), from: start)
    case .orderAligned:
      var width = 1
      while width < count { width *= 2 }
      return Self.search(taken, count, mask: width - 1, offset: 0, from: start)
    case .best: return Self.shortest(taken, count, from: start)
    case .fixed(let offset):
      guard offset % granule == 0, start == 0 else { return nil }
      let place = Int(offset >> order)
      return Self.isFree(taken, place, count) ? place : nil
    case .last:
      return stride(from: taken.count - count, through: start, by: -1)
        .first { Self.isFree(taken, $0, count) }
    }
  }

  /// The kernel's zero-area search, one granule at a time.
  private static func search(
    _ taken: [Bool], _ count: Int, mask: Int, offset: Int, from start: Int
  ) -> Int? {
    var index = start
    search: while true {
      while index < taken.count, taken[index] { index += 1 }
      guard index < taken.count else { return nil }
      index = ((index + offset + mask) & ~mask) - offset
      guard index + count <= taken.count else { return nil }
      for granule in index..<(index + count) where taken[granule] {
        index = granule + 1
        continue search
      }
      return index
    }
  }

  /// The first of the shortest free runs that are long enough.
  private static func shortest(_ taken: [Bool], _ count: Int, from start: Int) -> Int? {
    var best: Int?
    var length = Int.max
    var index = start
    while index < taken.count {
      guard !taken[index] else {
        index += 1
        continue
      }
      let first = index
      while index < taken.count, !taken[index] { index += 1 }
      if index - first >= count, index - first < length {
        best = first
        length = index - first
      }
    }
    return best
  }

  private static func isFree(_ taken: [Bool], _ place: Int, _ count: Int) -> Bool {
    guard place + count <= taken.count else { return false }
    for granule in place..<(place + count) where taken[granule] { return false }
    return true
  }

  /// The same fit of the allocator; `last` as a user would write it.
  package var fit: Fit {
    switch self {
    case .first: .first
    case .aligned(let align): .firstAligned(ByteCount(align))
    case .orderAligned: .orderAligned
    case .best: .best
    case .fixed(let offset): .fixed(offset: ByteCount(offset))
    case .last: .custom { map, request in Self.lastPlace(in: map, request.count) }
    }
  }

  /// The highest place, from the words alone.
  private static func lastPlace(
    in map: borrowing GranuleBitmap, _ count: GranuleCount
  ) -> GranuleIndex? {
    var end = map.count.rawValue
    var first = end
    while end - first < count.rawValue {
      guard first > 0 else { return nil }
      first -= 1
      if map.word(first / 64) >> UInt64(first % 64) & 1 != 0 { end = first }
    }
    return GranuleIndex(first)
  }

  package var description: String {
    switch self {
    case .first: "first"
    case .aligned(let align): "aligned to \(align)"
    case .orderAligned: "order-aligned"
    case .best: "best"
    case .fixed(let offset): "fixed at \(offset)"
    case .last: "last"
    }
  }
}
