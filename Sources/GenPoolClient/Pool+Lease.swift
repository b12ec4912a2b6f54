import DeviceMemory
public import GenPool

extension Pool {
  /// Adds a lease as a chunk: this process allocates from it without asking the broker.
  ///
  /// The lease lives inside the pool and is given back when the pool ends or is destroyed. The
  /// kernel's `gen_pool_add_owner` of memory that somebody lent.
  /// - Throws: what `Pool.add` throws; the lease is given back then.
  /// - Complexity: O(chunks).
  public func add(_ lease: consuming Lease, owner: Owner? = nil) throws(PoolError) {
    let start = lease.region.mapping.start
    let (size, physical, bus) = (lease.size, lease.physical, lease.bus)
    // SAFETY: the mapping is writable, `size` long, and lives as long as the backing.
    try unsafe add(
      mapped: start, size: size, physical: physical, bus: bus, owner: owner,
      backing: HeldLease(lease))
  }
}

/// A lease in a pool's keeping.
private final class HeldLease: Sendable {
  private let lease: Lease

  init(_ lease: consuming Lease) {
    self.lease = lease
  }
}
