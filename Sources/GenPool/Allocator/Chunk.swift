extension RangeAllocator {
  /// A contiguous piece of an allocator's addresses, as it was when looked at. The kernel's
  /// `struct gen_pool_chunk`.
  public struct Chunk: Hashable, Sendable {
    /// The address of the first byte.
    public let start: Address<Space>
    /// The size in bytes. A tail shorter than a granule counts, but is never handed out.
    public let size: ByteCount
    /// The physical address of the first byte, if the chunk has any.
    public let physical: PhysicalAddress?
    /// The bus address of the first byte, if the chunk has any.
    public let bus: BusAddress?
    /// The owner that was given when the chunk was added.
    public let owner: Owner?
    /// The bytes not allocated, the tail included. The kernel's `avail`.
    public let available: ByteCount
    /// The number of whole granules in the chunk.
    public let granules: GranuleCount
    /// Whether nothing more is allocated from it: ``RangeAllocator/drain(chunkAt:)``.
    public let isDraining: Bool
  }
}

/// An opaque word that comes back with every allocation from a chunk: the kernel's `void *owner`.
public struct Owner: Hashable, Sendable {
  /// The word. 0 is a value like any other, although C callers cannot tell it from none.
  public let rawValue: UInt

  /// The owner `rawValue`.
  public init(_ rawValue: UInt) {
    self.rawValue = rawValue
  }
}
