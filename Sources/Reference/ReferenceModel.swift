/// The allocator written down as plainly as the semantics allow: an array of Booleans a chunk, and
/// `ReferenceFit` for the searches. Slow, and the judge of the real one, in the tests and in
/// `genpool-bench verify`.
package struct ReferenceModel {
  private struct Chunk {
    let start: UInt64
    let size: UInt64
    let physical: UInt64?
    let owner: UInt?
    var available: UInt64
    var taken: [Bool]
  }

  package enum Answer: Equatable {
    case address(UInt64, owner: UInt?)
    case refused
  }

  private let order: UInt64
  /// Newest first.
  private var chunks: [Chunk] = []

  private var granule: UInt64 { 1 << order }

  package init(order: UInt64) {
    self.order = order
  }

  package mutating func add(start: UInt64, size: UInt64, physical: UInt64?, owner: UInt?) {
    let taken = [Bool](repeating: false, count: Int(size >> order))
    chunks.insert(
      Chunk(
        start: start, size: size, physical: physical, owner: owner, available: size, taken: taken),
      at: 0)
  }

  package mutating func allocate(_ size: UInt64, _ fit: ReferenceFit) -> Answer {
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

  package mutating func free(_ start: UInt64, _ size: UInt64) -> Answer {
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

  package var available: UInt64 { chunks.reduce(0) { $0 + $1.available } }

  /// Start and length in bytes of each maximal free run.
  package var freeRuns: [[UInt64]] {
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
