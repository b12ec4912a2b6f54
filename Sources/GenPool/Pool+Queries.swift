import Synchronization

extension Pool {
  /// The bytes not allocated, over all chunks but those that are drained: a snapshot, tails included.
  /// The kernel's `gen_pool_avail`. O(chunks).
  public var available: ByteCount {
    var sum: UInt64 = 0
    list.forEach { chunk in
      if chunk.pointee.phase.load(ordering: .relaxed) != .draining {
        sum &+= chunk.pointee.available.load(ordering: .relaxed)
      }
    }
    return ByteCount(sum)
  }

  /// The bytes in all chunks. The kernel's `gen_pool_size`. O(chunks).
  public var size: ByteCount {
    var sum: UInt64 = 0
    list.forEach { sum &+= $0.pointee.size.rawValue }
    return ByteCount(sum)
  }

  /// The chunks, newest first. The kernel's `gen_pool_for_each_chunk`. O(chunks).
  public var chunks: [Chunk] {
    var chunks: [Chunk] = []
    list.forEach { chunks.append($0.pointee.snapshot) }
    return chunks
  }

  /// The physical address of an address in the pool, allocated or not; nil when it is in no chunk
  /// or its chunk has none. The kernel's `gen_pool_virt_to_phys`. O(chunks).
  public func physicalAddress(of address: VirtualAddress) -> PhysicalAddress? {
    list.first { chunk in
      guard chunk.contains(address) else { return nil as PhysicalAddress?? }
      return chunk.physical.map { $0 + chunk.offset(of: address) }
    } ?? nil
  }

  /// The bus address of an address in the pool, allocated or not; nil when it is in no chunk or
  /// its chunk has none. O(chunks).
  public func busAddress(of address: VirtualAddress) -> BusAddress? {
    list.first { chunk in
      guard chunk.contains(address) else { return nil as BusAddress?? }
      return chunk.bus.map { $0 + chunk.offset(of: address) }
    } ?? nil
  }

  /// The address in the pool that a physical address stands for, allocated or not; nil when it is in no
  /// chunk. O(chunks).
  public func virtualAddress(of address: PhysicalAddress) -> VirtualAddress? {
    list.first { chunk in chunk.physical.flatMap { chunk.start(at: address, from: $0) } }
  }

  /// The address in the pool that a bus address stands for, allocated or not; nil when it is in no
  /// chunk. O(chunks).
  public func virtualAddress(of address: BusAddress) -> VirtualAddress? {
    list.first { chunk in chunk.bus.flatMap { chunk.start(at: address, from: $0) } }
  }

  /// What keeps the memory at an address of the pool where it is, as it was given with its chunk; nil
  /// when nothing does, when no chunk has it, and when the pool was destroyed. O(chunks).
  package func backing(of address: VirtualAddress) -> AnyObject? {
    list.chunk(at: address)?.pointee.state.withLock { $0.backing }
  }

  /// Whether one chunk holds the whole range, allocated or not; false across neighbours. A range
  /// of 0 bytes lies in a chunk when its start does. A range that wraps lies in none: the kernel's
  /// `gen_pool_has_addr` says yes to some. O(chunks).
  public func contains(_ start: VirtualAddress, size: ByteCount) -> Bool {
    list.first { chunk in
      guard chunk.contains(start) else { return nil }
      return size <= chunk.size - chunk.offset(of: start) ? true : nil
    } ?? false
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
    var sum = 0
    list.forEach { chunk in sum += withState(of: chunk) { $0.index.byteCount } }
    return ByteCount(UInt64(sum))
  }

  /// The maximal free runs of each chunk, newest chunk first, lowest run first: a snapshot, cut off
  /// after `limit` runs in all. O(words).
  public func freeRuns(limit: Int = .max) -> [FreeRun] {
    var runs: [FreeRun] = []
    list.forEach { chunk in
      withBitmap(of: chunk) { bitmap in
        bitmap.forEachFreeRun { run in
          guard runs.count < limit else { return false }
          runs.append(
            FreeRun(start: chunk.pointee.address(of: run.first), size: granule.bytes(run.count)))
          return true
        }
      }
    }
    return runs
  }

  /// Visits each chunk, newest first, with its bitmap, under its lock: `body` must not use the
  /// pool. The kernel's `gen_pool_for_each_chunk`, for those who read the bits.
  public func forEachChunk(_ body: (Chunk, borrowing GranuleBitmap) -> Void) {
    list.forEach { chunk in
      withBitmap(of: chunk) { bitmap in body(chunk.pointee.snapshot, bitmap) }
    }
  }
}

/// A maximal run of free granules.
public struct FreeRun: Hashable, Sendable {
  /// The virtual address of the first byte.
  public let start: VirtualAddress
  /// The length in bytes, a multiple of the granule.
  public let size: ByteCount

  /// `size` free bytes from `start` on.
  public init(start: VirtualAddress, size: ByteCount) {
    self.start = start
    self.size = size
  }
}
