// The busiest calls once more, compiled for one space: a generic function that is called from
// another module has to find out at each call what it is for. Who has an allocator of such a space
// gets these.

/// Of a ``Pool``.
extension RangeAllocator where Space == VirtualSpace {
  /// Allocates as ``RangeAllocator/allocate(_:fit:)`` does.
  public func allocate(_ size: ByteCount, fit: Fit? = nil) throws(Failure) -> Allocation {
    try allocateQuickly(size, fit: fit)
  }

  /// Frees as ``RangeAllocator/free(_:size:)`` does.
  @discardableResult
  public func free(_ start: Address<Space>, size: ByteCount) throws(Failure) -> Owner? {
    try freeQuickly(start, size)
  }

  /// Frees as ``RangeAllocator/free(_:)`` does.
  @discardableResult
  public func free(_ allocation: Allocation) throws(Failure) -> Owner? {
    try freeQuickly(allocation.start, allocation.size)
  }
}

/// Of what leases are made of. By the long way: the same code for two spaces would be merged into
/// one that asks for which.
extension RangeAllocator where Space == PhysicalSpace {
  /// Allocates as ``RangeAllocator/allocate(_:fit:)`` does.
  public func allocate(_ size: ByteCount, fit: Fit? = nil) throws(Failure) -> Allocation {
    try take(size, fit: fit, busAlignment: nil).allocation
  }

  /// Frees as ``RangeAllocator/free(_:size:)`` does.
  @discardableResult
  public func free(_ start: Address<Space>, size: ByteCount) throws(Failure) -> Owner? {
    try freeElsewhere(start, size)
  }
}
