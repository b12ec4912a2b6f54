public import GenPool

extension Pool {
  /// Makes `region` a chunk: the pool keeps it mapped and open until it ends or is destroyed. If the
  /// pool refuses, the region is unmapped and closed. The kernel's `gen_pool_add_owner`, with the
  /// memory that goes with it.
  ///
  /// - Throws: as ``Pool/add(start:size:physical:bus:owner:)``.
  public func add(_ region: consuming Region, owner: Owner? = nil) throws(PoolError) {
    let backing = Backing(region)
    // SAFETY: the chunk lives as long as `backing`, and `backing` as long as the mapping.
    try unsafe add(
      mapped: backing.region.mapping.start, size: backing.region.mapping.size,
      physical: backing.region.range.physical, bus: backing.region.range.bus, owner: owner,
      backing: backing)
  }
}

/// A region whose lifetime can be shared: what a chunk holds on to.
private final class Backing: Sendable {
  let region: Region

  init(_ region: consuming Region) {
    self.region = region
  }
}
