public import DeviceMemory
public import GenPool

/// Memory that a device is to reach: where it is for this process and on the bus, and what keeps it
/// there. A value; whoever has it keeps the memory mapped.
public struct DMAMemory: Sendable {
  /// The virtual address of the first byte.
  public let start: VirtualAddress
  /// How long it is, in bytes; at least 1.
  public let size: ByteCount
  /// The bus address of the first byte; nil when nobody knows it.
  public let bus: BusAddress?
  /// What errors call it.
  public let label: String

  /// Nil for memory that this process has not mapped.
  let keeper: Keeper?

  /// What keeps memory where it is.
  // SAFETY: nothing is done with the object but to let go of it, which any thread may.
  @safe
  final class Keeper: @unchecked Sendable {
    private let object: AnyObject

    init(_ object: AnyObject) {
      self.object = object
    }
  }

  /// An allocation of `pool`. As long as this value, or a mapping made of it, is kept, so is the
  /// chunk's memory, even past ``Pool/destroy()``; freeing it meanwhile is the caller's mistake, as
  /// a free under a running transfer is.
  /// - Throws: when the allocation is not of this pool.
  public init(_ allocation: DMAAllocation, of pool: Pool) throws(DMAError) {
    label = "\(allocation.size) at \(allocation.start) of pool \(pool.name ?? "without a name")"
    guard pool.contains(allocation.start, size: allocation.size) else {
      throw .invalid(subject: label, problem: "the pool has no such memory")
    }
    start = allocation.start
    size = allocation.size
    bus = allocation.bus
    keeper = pool.backing(of: allocation.start).map(Keeper.init)
  }

  /// All of a region.
  public init(_ shared: SharedRegion) {
    start = shared.region.mapping.start
    size = shared.region.mapping.size
    bus = shared.region.range.bus
    label = shared.region.range.label
    keeper = Keeper(shared)
  }

  /// Other memory of this process.
  /// - Parameters:
  ///   - start: the first byte; all `size` bytes must be mapped, readable and writable, as long as
  ///     `keeper` lives.
  ///   - bus: its bus address, of all bytes in a row, if it is known.
  @unsafe
  public init(
    start: VirtualAddress, size: ByteCount, bus: BusAddress? = nil, label: String,
    keeper: AnyObject
  ) {
    precondition(size > .zero, "no memory")
    self.start = start
    self.size = size
    self.bus = bus
    self.label = label
    self.keeper = Keeper(keeper)
  }
}
