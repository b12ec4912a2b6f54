extension RangeAllocator {
  /// A range that was handed out: a plain value, not a resource. It is given back with
  /// ``RangeAllocator/free(_:)``, or piece by piece with ``RangeAllocator/free(_:size:)``.
  public struct Allocation: Hashable, Sendable {
    /// The address of the first byte.
    public let start: Address<Space>
    /// The bytes asked for; the granules that hold them are the caller's too.
    public let size: ByteCount
    /// The owner of the chunk it came from.
    public let owner: Owner?

    @inlinable
    package init(start: Address<Space>, size: ByteCount, owner: Owner?) {
      self.start = start
      self.size = size
      self.owner = owner
    }
  }
}
