// The busiest calls once more, compiled for one space: a generic function that is called from another
// module has to find out at each call what it is for. Who has an allocator of such a space gets these.

/// Of a ``Pool``.
extension RangeAllocator where Space == VirtualSpace {
  /// As ``RangeAllocator/allocate(_:fit:)``.
  public func allocate(_ size: ByteCount, fit: Fit? = nil) throws(Failure) -> Allocation {
    try allocateQuickly(size, fit: fit)
  }

  /// As ``RangeAllocator/free(_:size:)``.
  @discardableResult
  public func free(_ start: Address<Space>, size: ByteCount) throws(Failure) -> Owner? {
    try freeQuickly(start, size)
  }

  /// As ``RangeAllocator/free(_:)``.
  @discardableResult
  public func free(_ allocation: Allocation) throws(Failure) -> Owner? {
    try freeQuickly(allocation.start, allocation.size)
  }
}

/// Of what leases are made of.
extension RangeAllocator where Space == PhysicalSpace {
  /// As ``RangeAllocator/allocate(_:fit:)``.
  public func allocate(_ size: ByteCount, fit: Fit? = nil) throws(Failure) -> Allocation {
    try allocateQuickly(size, fit: fit)
  }

  /// As ``RangeAllocator/free(_:size:)``.
  @discardableResult
  public func free(_ start: Address<Space>, size: ByteCount) throws(Failure) -> Owner? {
    try freeQuickly(start, size)
  }
}
