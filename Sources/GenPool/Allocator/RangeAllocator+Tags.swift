/// Who holds a piece of memory: a number that those who share a pool agree on, a process id say.
public struct Tag: Hashable, Sendable {
  /// The number, not 0.
  public let rawValue: UInt32

  /// The holder `rawValue`. Traps for 0, which is nobody.
  public init(_ rawValue: UInt32) {
    precondition(rawValue != 0, "0 is nobody's tag")
    self.rawValue = rawValue
  }
}

extension RangeAllocator {
  /// An allocated range of one holder.
  public struct Holding: Hashable, Sendable {
    /// The address of the first byte.
    public let start: Address<Space>
    /// The length in bytes, a multiple of the granule. Neighbours with one tag are one holding.
    public let size: ByteCount
    /// Whose it is; nil when nobody said so.
    public let tag: Tag?

    /// `size` bytes from `start` on that are `tag`'s.
    public init(start: Address<Space>, size: ByteCount, tag: Tag?) {
      self.start = start
      self.size = size
      self.tag = tag
    }
  }
}

/// Tags on what is allocated, kept outside of the memory. A chunk in which nothing was tagged pays
/// nothing; the first tag takes 4 bytes for each granule that is ever tagged.
extension RangeAllocator {
  /// Notes whose an allocation is, or with nil that it is nobody's. A free forgets it.
  /// - Throws: as ``tag(_:size:as:)``.
  public func tag(_ allocation: Allocation, as tag: Tag?) throws(Failure) {
    try self.tag(allocation.start, size: allocation.size, as: tag)
  }

  /// Notes whose a range is, which may be part of an allocation or span neighbours in one chunk.
  ///
  /// - Parameters:
  ///   - start: rounded down to its granule.
  ///   - size: rounded up to granules.
  ///   - tag: whose it is; nil for nobody's.
  /// - Throws: `noSuchAddress`, `pastChunkEnd`, `notAllocated`, `gone`, `noMemory`, `destroyed`,
  ///   `forked`.
  /// - Complexity: O(chunks + granules of the range).
  public func tag(_ start: Address<Space>, size: ByteCount, as tag: Tag?) throws(Failure) {
    try withRun(start, size) { (chunk, run, state) throws(Failure) in
      try refuseUnlessAllocated(run, in: state, of: chunk, from: start)
      if !state.isTagged {
        guard tag != nil else { return }
        guard let tags = Table<UInt32>(count: chunk.pointee.granules.rawValue) else {
          throw .noMemory
        }
        state.tags = consume tags
        state.isTagged = true
      }
      state.tag(run, as: tag)
    }
  }

  /// What is allocated, and whose: newest chunk first, lowest address first. A snapshot.
  /// O(granules).
  public var holdings: [Holding] {
    steadily {
      var holdings: [Holding] = []
      list.forEach { chunk in
        withState(of: chunk) { state in
          state.forEachHolding { run, tag in
            holdings.append(
              Holding(
                start: Address(chunk.pointee.address(of: run.first)),
                size: granule.bytes(run.count),
                tag: tag == 0 ? nil : Tag(tag)))
          }
        }
      }
      return holdings
    }
  }
}

extension ChunkStorage.State {
  /// Notes whose a run is. There are ``tags``, and the lock is held.
  @inline(never)
  mutating func tag(_ run: GranuleRun, as tag: Tag?) {
    switch tags {
    case .some(let tags):
      for granule in run.first.rawValue..<run.end.rawValue { tags[granule] = tag?.rawValue ?? 0 }
    case nil: break
    }
  }

  /// Visits the longest runs of allocated granules with one tag, lowest first.
  func forEachHolding(_ body: (GranuleRun, UInt32) -> Void) {
    let limit = index.bitmap.count.rawValue
    var start = index.bitmap.nextAllocated(from: 0, limit: limit)
    while start < limit {
      let stop = index.bitmap.nextFree(from: start)
      while start < stop {
        let tag = self.tag(of: start)
        var end = start + 1
        while end < stop, self.tag(of: end) == tag { end += 1 }
        body(GranuleRun(first: GranuleIndex(start), count: GranuleCount(end - start)), tag)
        start = end
      }
      start = index.bitmap.nextAllocated(from: stop, limit: limit)
    }
  }

  private func tag(of granule: Int) -> UInt32 {
    switch tags {
    case .some(let tags): tags[granule]
    case nil: 0
    }
  }
}
