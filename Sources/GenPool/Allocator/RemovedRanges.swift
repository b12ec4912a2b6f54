/// Ranges of chunks that were removed with an allocator still in use: frees of what was allocated
/// there are told so.
///
/// Neighbours are one range, so that a chunk that is added and removed at the same place for days
/// is one entry. Beyond ``limit`` ranges the lowest is forgotten; frees there find no chunk, as if
/// none had been.
struct RemovedRanges {
  /// Ascending, apart from each other.
  private var ranges: [AddressRange<AnySpace>] = []

  /// The most ranges that are remembered: 16 KiB.
  static var limit: Int { 1024 }

  /// Whether `address` was in a chunk that was removed, and is in none that was added since.
  /// O(ranges).
  func contains(_ address: AnyAddress) -> Bool {
    ranges.contains { $0.contains(address) }
  }

  /// A chunk was removed.
  mutating func insert(_ range: AddressRange<AnySpace>) {
    var first = range.first
    var last = range.last
    ranges.removeAll { other in
      // Overlapping, or next to each other; nothing is next to the end of the space.
      guard other.first <= last.advanced(by: 1) ?? last,
        first <= other.last.advanced(by: 1) ?? first
      else { return false }
      first = min(first, other.first)
      last = max(last, other.last)
      return true
    }
    guard let merged = AddressRange(first: first, last: last) else { return }
    let place = ranges.firstIndex { $0.first > merged.first } ?? ranges.endIndex
    ranges.insert(merged, at: place)
    if ranges.count > Self.limit { ranges.removeFirst() }
  }

  /// A chunk was added: what lies in it is not gone any more.
  mutating func remove(_ range: AddressRange<AnySpace>) {
    guard ranges.contains(where: { $0.overlaps(range) }) else { return }
    ranges = ranges.flatMap { other -> [AddressRange<AnySpace>] in
      guard other.overlaps(range) else { return [other] }
      var rest: [AddressRange<AnySpace>] = []
      if other.first < range.first,
        let below = AddressRange(first: other.first, last: range.first - 1)
      {
        rest.append(below)
      }
      if range.last < other.last, let above = AddressRange(first: range.last + 1, last: other.last)
      {
        rest.append(above)
      }
      return rest
    }
    if ranges.count > Self.limit { ranges.removeFirst() }
  }
}
