public import GenPool
public import PCIDevices

/// The knowledge that the host bridge above a device leaves addresses as they are, so that the
/// host's memory has its physical addresses on the bus as well.
///
/// Seen, not assumed: each BAR of the device has one address on both sides of the bridge. The host
/// bridges of x86 translate neither way; those that do (some of arm64, POWER) show it in the BARs.
/// What an IOMMU does besides is ``Initiator``'s to know.
public struct DirectHostBridge: Hashable, Sendable {
  /// Looks at `device`, below the bridge.
  /// - Throws: when its BARs show a translation, or nothing.
  public init(above device: Device) throws(DMAError) {
    func unreachable(_ cause: String) -> DMAError {
      .unreachable(subject: "the host's memory", initiator: "\(device.address)", cause: cause)
    }
    var isSeen = false
    for bar in device.bars {
      guard let physical = bar.physical?.first, let bus = bar.bus else { continue }
      guard physical.rawValue == bus.rawValue else {
        throw unreachable(
          "its host bridge translates: BAR \(bar.index) is at \(physical) for the CPU and at \(bus) "
            + "on the bus; nobody knows what it does to addresses of memory")
      }
      isSeen = true
    }
    guard isSeen else {
      throw unreachable("no BAR of it shows what its host bridge does to addresses")
    }
  }

  /// The bus address of the host's memory at `physical`.
  public func bus(of physical: PhysicalAddress) -> BusAddress { BusAddress(physical.rawValue) }
}
