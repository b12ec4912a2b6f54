public import GenPool

/// A region with many users: it is unmapped and closed when the last of them has let go.
public final class SharedRegion: Sendable {
  /// The region.
  public let region: Region

  public init(_ region: consuming Region) {
    self.region = region
  }
}

extension Pool {
  /// Makes `region` a chunk: the pool keeps it mapped and open until it ends or is destroyed. If the
  /// pool refuses, the region is unmapped and closed. The kernel's `gen_pool_add_owner`, with the
  /// memory that goes with it.
  ///
  /// - Throws: as ``Pool/add(start:size:physical:bus:owner:traits:)``.
  public func add(
    _ region: consuming Region, owner: Owner? = nil, traits: ChunkTraits = ChunkTraits()
  ) throws(PoolError) {
    try add(SharedRegion(region), owner: owner, traits: traits)
  }

  /// Makes a region a chunk that others use as well, for its registers say. The pool is one of those who
  /// keep it.
  ///
  /// - Throws: as ``Pool/add(start:size:physical:bus:owner:traits:)``.
  public func add(
    _ shared: SharedRegion, owner: Owner? = nil, traits: ChunkTraits = ChunkTraits()
  ) throws(PoolError) {
    // SAFETY: the chunk lives as long as its backing, and that as long as the mapping.
    try unsafe add(
      mapped: shared.region.mapping.start, size: shared.region.mapping.size,
      physical: shared.region.range.physical, bus: shared.region.range.bus, owner: owner,
      traits: traits, backing: shared)
  }
}
