import CGenPoolInline

/// Memory for devices.
extension Pool {
  /// Allocates memory for a device to reach. The kernel's `gen_pool_dma_alloc`,
  /// `gen_pool_dma_alloc_algo`, `gen_pool_dma_zalloc` and `gen_pool_dma_zalloc_algo`.
  ///
  /// - Parameters:
  ///   - size: in bytes, at least 1.
  ///   - fit: how the place is chosen; the pool's own when nil.
  ///   - zeroed: whether exactly `size` bytes are zeroed, by stores that device memory tolerates.
  /// - Throws: as ``allocate(_:fit:)``; `notMapped` when there is nothing to zero.
  public func allocateDMA(
    _ size: ByteCount, fit: Fit? = nil, zeroed: Bool = false
  ) throws(PoolError) -> DMAAllocation {
    try allocateDMA(size, fit: fit, busAlignment: nil, zeroed: zeroed)
  }

  /// Allocates memory for a device to reach, at a multiple of `alignment` bytes of virtual
  /// address. The kernel's `gen_pool_dma_alloc_align` and `gen_pool_dma_zalloc_align`.
  ///
  /// Regions are mapped so that this is the alignment of the physical address too. If the chunk has
  /// a bus address, its alignment is checked.
  /// - Throws: as ``allocateDMA(_:fit:zeroed:)``; `busMisaligned` when the host bridge's offset
  ///   breaks a power of two.
  public func allocateDMA(
    _ size: ByteCount, alignment: ByteCount, zeroed: Bool = false
  ) throws(PoolError) -> DMAAllocation {
    try allocateDMA(
      size, fit: .firstAligned(alignment),
      busAlignment: alignment.isPowerOfTwo ? alignment : nil, zeroed: zeroed)
  }

  private func allocateDMA(
    _ size: ByteCount, fit: Fit?, busAlignment: ByteCount?, zeroed: Bool
  ) throws(PoolError) -> DMAAllocation {
    let taken = try take(size, fit: fit, busAlignment: busAlignment, mustBeMapped: zeroed)
    return handOut(taken, zeroed: zeroed)
  }

  /// Allocates memory for a device to reach, at a place that meets `constraints`.
  ///
  /// - Parameters:
  ///   - alignment: of the virtual, physical and bus address; a power of two. Nil for none beyond what
  ///     the fit says, which it replaces.
  ///   - zeroed: as in ``allocateDMA(_:fit:zeroed:)``.
  /// - Throws: as ``allocate(_:fit:meeting:)``; `notMapped` when there is nothing to zero;
  ///   `busMisaligned`.
  public func allocateDMA(
    _ size: ByteCount, alignment: ByteCount? = nil, fit: Fit? = nil,
    meeting constraints: Constraints, zeroed: Bool = false
  ) throws(PoolError) -> DMAAllocation {
    let taken = try take(
      size, fit: alignment.map { .firstAligned($0) } ?? fit, meeting: constraints,
      busAlignment: alignment.flatMap { $0.isPowerOfTwo ? $0 : nil }, mustBeMapped: zeroed)
    return handOut(taken, zeroed: zeroed)
  }

  /// Gives an allocation back, whole.
  @discardableResult
  public func free(_ allocation: DMAAllocation) throws(PoolError) -> Owner? {
    try free(allocation.start, size: allocation.size)
  }

  /// The allocation that hardware is told of.
  private func handOut(_ taken: Taken, zeroed: Bool) -> DMAAllocation {
    if zeroed { gp_zero(taken.allocation.start.rawValue, taken.allocation.size.rawValue) }
    return DMAAllocation(
      allocation: taken.allocation, physical: taken.physical, bus: taken.bus)
  }
}
