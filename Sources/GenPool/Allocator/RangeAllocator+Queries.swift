import Synchronization

extension RangeAllocator {
  /// The bytes not allocated, over all chunks but those that are drained: a snapshot, tails
  /// included. The kernel's `gen_pool_avail`. O(chunks).
  public var available: ByteCount {
    steadily {
      var sum: UInt64 = 0
      list.forEach { chunk in
        if chunk.pointee.phase.load(ordering: .relaxed) != .draining {
          sum &+= chunk.pointee.available.load(ordering: .relaxed)
        }
      }
      return ByteCount(sum)
    }
  }

  /// The bytes in all chunks. The kernel's `gen_pool_size`. O(chunks).
  public var size: ByteCount {
    steadily {
      var sum: UInt64 = 0
      list.forEach { sum &+= $0.pointee.size.rawValue }
      return ByteCount(sum)
    }
  }

  /// The chunks, newest first. The kernel's `gen_pool_for_each_chunk`. O(chunks).
  public var chunks: [Chunk] {
    steadily {
      var chunks: [Chunk] = []
      list.forEach { chunk in chunks.append(withState(of: chunk) { snapshot(chunk, $0) }) }
      return chunks
    }
  }

  /// Whether one chunk holds the whole range, allocated or not; false across neighbours. A range
  /// of 0 bytes lies in a chunk when its start does. A range that wraps lies in none: the kernel's
  /// `gen_pool_has_addr` says yes to some. O(log chunks).
  public func contains(_ start: Address<Space>, size: ByteCount) -> Bool {
    withChunk(at: start) { (chunk, offset) in size <= chunk.identity.size - offset } ?? false
  }

  /// The length of the longest run that could be allocated, in bytes: a snapshot. O(chunks).
  public var largestFreeRun: ByteCount {
    var longest = 0
    list.forEach { chunk in
      if chunk.pointee.phase.load(ordering: .relaxed) != .draining {
        longest = max(longest, chunk.pointee.longest.load(ordering: .relaxed))
      }
    }
    return granule.bytes(GranuleCount(longest))
  }

  /// The memory that the indexes take beside the bitmaps, if all of it is used. O(chunks).
  package var indexSize: ByteCount {
    steadily {
      var sum = 0
      list.forEach { chunk in sum += withState(of: chunk) { $0.index.byteCount } }
      return ByteCount(UInt64(sum))
    }
  }

  /// The maximal free runs of each chunk, newest chunk first, lowest run first: a snapshot, cut off
  /// after `limit` runs in all. O(words).
  public func freeRuns(limit: Int = .max) -> [FreeRun] {
    steadily {
      var runs: [FreeRun] = []
      list.forEach { chunk in
        withBitmap(of: chunk) { bitmap in
          bitmap.forEachFreeRun { run in
            guard runs.count < limit else { return false }
            runs.append(
              FreeRun(
                start: Address(chunk.pointee.address(of: run.first)), size: granule.bytes(run.count)
              ))
            return true
          }
        }
      }
      return runs
    }
  }

  /// Visits each chunk, newest first, with its bitmap, under its lock: `body` must not use the
  /// pool. While chunks are added and removed one may be visited twice. The kernel's
  /// `gen_pool_for_each_chunk`, for those who read the bits.
  public func forEachChunk(_ body: (Chunk, borrowing GranuleBitmap) -> Void) {
    list.forEach { chunk in
      withState(of: chunk) { state in
        guard !chunk.pointee.isRemoved else { return }
        body(snapshot(chunk, state), state.index.bitmap)
      }
    }
  }

  /// The answer of `body` for the chunk in which an address lies, and its distance from the chunk's
  /// start; nil when it is in none. Constant time when it is in the newest, else O(log chunks), and
  /// O(chunks) while chunks come and go, and when there is none.
  @inline(__always)
  func withChunk<Result>(
    at address: Address<Space>,
    _ body: (borrowing ChunkStorage.State, ByteCount) -> Result
  ) -> Result? {
    func look(_ chunk: ChunkReference?) -> Result? {
      guard let chunk else { return nil }
      return withState(of: chunk) { state in
        guard !chunk.pointee.isRemoved, chunk.pointee.contains(AnyAddress(address)) else {
          return nil
        }
        return body(state, chunk.pointee.offset(of: AnyAddress(address)))
      }
    }
    if let found = look(list.likelyChunk(at: AnyAddress(address))) { return found }
    return withState { _ in look(list.chunk(at: AnyAddress(address))) }
  }
}

extension RangeAllocator {
  /// A maximal run of free granules.
  public struct FreeRun: Hashable, Sendable {
    /// The address of the first byte.
    public let start: Address<Space>
    /// The length in bytes, a multiple of the granule.
    public let size: ByteCount

    /// `size` free bytes from `start` on.
    public init(start: Address<Space>, size: ByteCount) {
      self.start = start
      self.size = size
    }
  }
}
