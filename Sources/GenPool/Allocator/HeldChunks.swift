import Synchronization

/// The chunks that a batch changes, with their locks, which it holds until all of it is done or
/// undone: other threads see all of the batch or nothing.
///
/// Only a thread that holds the allocator's lock, and keeps it meanwhile, takes the locks of
/// several chunks. So the order in which it takes them does not matter: no other thread that holds
/// a chunk's lock waits for a second lock.
///
/// Invariant: the locks of all ``parts`` are held; `granules` are those that the batch took from
/// the chunk and that ``ChunkStorage/available`` does not tell of yet.
struct HeldChunks {
  /// The allocator's own fit.
  let defaultFit: Fit
  private(set) var parts: [Part] = []

  /// A chunk's share of a batch.
  struct Part {
    let chunk: ChunkReference
    /// Allocations or frees.
    var times = 0
    /// The granules of all of them.
    var granules = 0
  }

  /// None yet. The allocator's lock is held.
  init(defaultFit: Fit) { self.defaultFit = defaultFit }

  /// The number of the chunk's part; its lock is taken if it is not held.
  mutating func hold(_ chunk: ChunkReference) -> Int {
    if let part = part(chunk) { return part }
    chunk.pointee.state.acquire()
    parts.append(Part(chunk: chunk))
    return parts.count - 1
  }

  /// Counts `times` allocations or frees of `granules` together.
  mutating func count(_ times: Int, granules: Int, in part: Int) {
    parts[part].times += times
    parts[part].granules += granules
  }

  /// Gives all locks back.
  mutating func release() {
    for part in parts { part.chunk.pointee.state.release() }
    parts = []
  }

  func holds(_ chunk: ChunkReference) -> Bool { part(chunk) != nil }

  /// The bytes that are left in a chunk; nil if it is not held.
  func available(_ chunk: ChunkReference) -> UInt64? {
    part(chunk).map { number in
      let taken = chunk.pointee.granule.bytes(GranuleCount(parts[number].granules))
      return chunk.pointee.available.load(ordering: .relaxed) &- taken.rawValue
    }
  }

  /// The longest free run of a chunk, in granules; nil if it is not held.
  func longest(_ chunk: ChunkReference) -> Int? {
    part(chunk).map { _ in chunk.pointee.state.value.index.longest.rawValue }
  }

  /// The chunk of one item is most often that of the next: the last part first.
  private func part(_ chunk: ChunkReference) -> Int? {
    parts.lastIndex { $0.chunk.word == chunk.word }
  }
}
