import Synchronization

/// What a pool holds and has done, as it was when looked at.
public struct PoolStatistics: Hashable, Sendable {
  /// The bytes in all chunks.
  public let size: ByteCount
  /// The bytes not allocated, tails included, but for chunks that are drained.
  public let available: ByteCount
  /// The same without tails: the bytes in free granules that could be allocated.
  public let allocatable: ByteCount
  /// The bytes that caches hold: allocated, and free for the cache to hand out.
  public let cached: ByteCount
  /// The most bytes that were ever allocated at once, chunk by chunk: with several chunks the sum
  /// of what each had at its own fullest time, so at least what they had together.
  public let peak: ByteCount
  /// Allocations that succeeded.
  public let allocations: Int
  /// Frees that succeeded: not as many as allocations, because parts may be freed, and neighbours
  /// together.
  public let frees: Int
  /// Allocations that failed because no chunk had that much free.
  public let failedFull: Int
  /// Allocations that failed because no free run would do.
  public let failedFragmented: Int
  /// The longest run that could be allocated.
  public let largestFreeRun: ByteCount
  /// How many maximal free runs there are, those of drained chunks included.
  public let freeRuns: Int

  /// The share of the free bytes outside the largest run: 1 − largest free run / allocatable. 0
  /// when nothing is free.
  public var fragmentation: Double {
    guard allocatable > .zero else { return 0 }
    // The two are not of the same moment where other threads are at work.
    return max(0, 1 - Double(largestFreeRun.rawValue) / Double(allocatable.rawValue))
  }
}

/// How often allocations failed.
struct FailureCounts: ~Copyable {
  let full = Atomic<Int>(0)
  let fragmented = Atomic<Int>(0)
}

extension RangeAllocator {
  /// The pool's amounts and counts: a snapshot. O(chunks + caches): no bitmap is read.
  public var statistics: PoolStatistics { steadily { sums } }

  private var sums: PoolStatistics {
    var peak: UInt64 = 0
    let (inCaches, removed) = withState {
      ($0.caches.sums, ($0.removedAllocations, $0.removedFrees))
    }
    var allocations = removed.0 + inCaches.allocations
    var frees = removed.1 + inCaches.frees
    var runs = 0
    var tails: UInt64 = 0
    list.forEach { chunk in
      withState(of: chunk) { state in
        guard !chunk.pointee.isRemoved else { return }
        allocations += state.allocations
        frees += state.frees
        peak += chunk.pointee.size.rawValue - state.leastAvailable
        runs += state.index.runCount
        if chunk.pointee.phase.load(ordering: .relaxed) != .draining {
          tails += (chunk.pointee.size - granule.bytes(chunk.pointee.granules)).rawValue
        }
      }
    }
    let available = available
    return PoolStatistics(
      size: size, available: available,
      // Tails are always available; a chunk that came or went in between must not make this wrap.
      allocatable: ByteCount(available.rawValue - min(tails, available.rawValue)),
      cached: granule.bytes(GranuleCount(inCaches.held)), peak: ByteCount(peak),
      allocations: allocations,
      frees: frees, failedFull: failures.full.load(ordering: .relaxed),
      failedFragmented: failures.fragmented.load(ordering: .relaxed),
      largestFreeRun: largestFreeRun, freeRuns: runs)
  }
}
