public import BrokerProtocol
public import DeviceMemory
public import GenPool
import LinuxSystem
public import PCIDevices

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

/// The memory that is to be opened.
public struct AttachRequest: Hashable, Sendable {
  /// Its name. Never a device's registers.
  public var memory: DeviceMemoryID
  /// Rules of the attach policy that need not hold this once.
  public var allow: [String]
  /// Whether a search chose the device, which then was not named by its address.
  public var isSearched: Bool
  /// The interface that opens it.
  public var source: MemorySource
  /// Whether contents that were meant to last may be lost.
  public var mayErase: Bool

  public init(
    _ memory: DeviceMemoryID, allow: [String] = [], isSearched: Bool = false,
    source: MemorySource = .sysfs, mayErase: Bool = false
  ) {
    self.memory = memory
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
