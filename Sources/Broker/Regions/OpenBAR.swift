public import DeviceMemory
public import GenPool

/// A BAR, or a part of it, that has been opened.
public struct OpenBAR: ~Copyable, Sendable {
  /// The device's address in its one canonical form, `0000:01:00.0`.
  public let device: String
  /// 0 … 5.
  public let bar: Int
  /// The range's start, from the BAR's.
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
