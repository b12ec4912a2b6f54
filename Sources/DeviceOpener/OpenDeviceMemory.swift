public import DeviceDMA
public import DeviceMemory
public import GenPool
import LinuxSystem
public import PCIDevices

/// Memory that a ``DeviceMemoryID`` named, open.
public struct OpenDeviceMemory: ~Copyable {
  /// The BAR that it is in.
  public let bar: BAR.Index
  /// The start, in bytes from the BAR's start.
  public let offset: ByteCount
  /// The device that has it as its own, beside being in its BAR; nil for a BAR as such.
  public let owner: Owner?
  /// The open memory. What the opening changed is undone when it ends.
  public let range: DeviceRange

  /// The NVMe controller of a CMB or PMR.
  public struct Owner: Hashable, Sendable {
    /// The controller.
    public let device: PCIAddress
    /// The kinds of objects that the controller can keep there itself.
    public let uses: MemoryUses
  }

  /// The open memory alone, to be mapped or leased.
  public consuming func intoRange() -> DeviceRange { range }
}

extension BufferPool {
  /// Maps and pools memory of a device.
  public convenience init(
    mapping opened: consuming OpenDeviceMemory, granule: GranuleSize = .page
  ) throws(BufferPoolError) {
    let (owner, label) = (opened.owner, opened.range.label)
    let region: SharedRegion
    do throws(SystemError) {
      region = SharedRegion(try Region(mapping: opened.intoRange()))
    } catch {
      throw .system(error)
    }
    try self.init(
      [Memory(region, owner: owner?.device, ownUses: owner?.uses ?? .all)], label: label,
      granule: granule)
  }
}
