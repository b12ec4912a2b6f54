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

  /// Allocates as ``RangeAllocator/allocate(count:of:fit:)`` does.
  public func allocate(
    count: Int, of size: ByteCount, fit: Fit? = nil
  ) throws(Failure) -> [Allocation] {
    try allocateArray(count, of: size, fit: fit)
  }

  /// Frees as ``RangeAllocator/free(contentsOf:)`` does.
  public func free(contentsOf allocations: [Allocation]) throws(Failure) {
    try freeArray(allocations)
  }

  /// Allocates as ``RangeAllocator/allocate(count:of:fit:)`` does, and writes the addresses to
  /// `addresses`, where there is room for `count`. What is there means nothing when it throws.
  @unsafe
  package func allocate(
    count: Int, of size: ByteCount, fit: Fit?, into addresses: UnsafeMutablePointer<UInt>
  ) throws(Failure) {
    try unsafe allocateAddresses(count, of: size, fit: fit, into: addresses)
  }

  /// Frees `count` ranges of `size` bytes, which start at `addresses`, as
  /// ``RangeAllocator/free(contentsOf:)`` does.
  @unsafe
  package func free(
    count: Int, of size: ByteCount, at addresses: UnsafePointer<UInt>
  ) throws(Failure) {
    try freeBatch(count) { number in
      unsafe (Address(UInt64(addresses[number])), size)
    }
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
