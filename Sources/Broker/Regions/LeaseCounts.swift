import GenPool

/// What became of the requests for a pool's memory since it was attached.
///
/// Its allocator cannot say: to it attaching is an allocation of everything, and each slice that
/// was scrubbed a free; and it is asked again and again for one request that waits.
struct LeaseCounts {
  /// Leases that began, and that ended.
  private(set) var allocations = 0
  private(set) var frees = 0
  /// In leases now.
  private(set) var leased = ByteCount.zero
  /// The most that was ever in leases at once.
  private(set) var peak = ByteCount.zero
  /// Requests that were refused, be it after a wait, because less was free than they asked for.
  var failedFull = 0
  /// Those that were refused because no free piece would do.
  var failedFragmented = 0

  /// Leases there are now.
  var leases: Int { allocations - frees }

  mutating func begin(_ size: ByteCount) {
    allocations += 1
    leased += size
    peak = max(peak, leased)
  }

  mutating func end(_ size: ByteCount) {
    frees += 1
    leased -= size
  }
}
