public import BrokerProtocol
public import DeviceMemory
public import GenPool
import LinuxSystem

/// The seam to whoever knows and opens devices. The broker itself cannot: it maps what it is given.
///
/// Called on the broker's thread, so an implementation must not wait for anything slower than
/// sysfs.
public protocol DeviceProvider: AnyObject {
  /// The machine's devices that have memory, attached or not.
  func devices() throws(BrokerError) -> [Broker1.Device]

  /// Opens a BAR or a part of it, after the attach policy has agreed. What the opening changed is
  /// undone when the range ends.
  func open(_ request: AttachRequest) throws(BrokerError) -> OpenBAR
}

/// Which memory is to be opened.
public struct AttachRequest: Hashable, Sendable {
  /// The device's address, in any form that people write.
  public var device: String
  /// What of it.
  public var memory: Memory
  /// Nil for the BAR's start.
  public var offset: ByteCount?
  /// Nil for all from the offset on.
  public var size: ByteCount?
  /// Rules of the attach policy that need not hold this once.
  public var allow: [String]
  /// Whether a search chose the device, and nobody named it by its address.
  public var isSearched: Bool
  /// How it is to be opened; nil for the provider's first choice.
  public var source: MemorySource?
  /// Whether contents that were meant to last may be lost.
  public var mayErase: Bool

  /// Which of a device's memories.
  public enum Memory: Hashable, Sendable {
    /// A BAR, 0 … 5.
    case bar(Int)
    /// An NVMe controller's buffer: wherever its registers say that it is, enabled while it is
    /// open.
    case controllerMemoryBuffer
    /// An NVMe controller's persistent memory region, whose contents may be lost.
    case persistentMemoryRegion
  }

  public init(
    device: String, memory: Memory, offset: ByteCount? = nil, size: ByteCount? = nil,
    allow: [String] = [], isSearched: Bool = false, source: MemorySource? = nil,
    mayErase: Bool = false
  ) {
    self.device = device
    self.memory = memory
    self.offset = offset
    self.size = size
    self.allow = allow
    self.isSearched = isSearched
    self.source = source
    self.mayErase = mayErase
  }
}

/// A BAR, or a part of it, that has been opened.
public struct OpenBAR: ~Copyable {
  /// The device's address in its one canonical form, `0000:01:00.0`.
  public let device: String
  /// 0 … 5.
  public let bar: Int
  /// Where in the BAR the range starts.
  public let offset: ByteCount
  /// The NUMA node that the device is close to.
  public let numaNode: Int?
  /// The physical addresses that a descriptor of the range reaches: all of the BAR, or of the
  /// device. Empty for the range alone.
  public let reach: [AddressRange<PhysicalSpace>]
  /// The other sources through which no process reaches the device, as the kernel shows: VFIO where
  /// no driver of VFIO is bound, which the kernel unbinds only when every process has let go.
  public let releasedSources: Set<MemorySource>
  /// The memory.
  public let range: DeviceRange

  public init(
    device: String, bar: Int, offset: ByteCount, numaNode: Int?,
    reach: [AddressRange<PhysicalSpace>] = [], releasedSources: Set<MemorySource> = [],
    range: consuming DeviceRange
  ) {
    self.device = device
    self.bar = bar
    self.offset = offset
    self.numaNode = numaNode
    self.reach = reach
    self.releasedSources = releasedSources
    self.range = range
  }

  /// The memory alone. The rest are plain values, to be read before.
  consuming func intoRange() -> DeviceRange { range }
}
