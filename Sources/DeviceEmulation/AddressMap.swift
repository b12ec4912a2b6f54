import GenPool
import PCIDevices

/// Gives emulated devices places as firmware does: a free bus, and naturally aligned addresses in a
/// window of the host bridge.
struct AddressMap {
  private var devices: Set<PCIAddress>
  private var memory: [AddressRange<PhysicalSpace>]

  /// The map of a tree that has `devices` already.
  init(of devices: [Device]) {
    self.devices = Set(devices.map(\.address))
    memory = devices.flatMap { $0.bars.compactMap(\.physical) }
  }

  /// The windows of the host bridge, chosen to look like those of a PC.
  private enum Window {
    /// 512 GiB to 64 TiB.
    static let high: ClosedRange<UInt64> = 0x80_0000_0000...0x3fff_ffff_ffff
    /// 3 GiB to just below the I/O APIC.
    static let low: ClosedRange<UInt64> = 0xc000_0000...0xfebf_ffff
  }

  /// The address for `device`: the one it wants, or function 0 of the first free bus.
  mutating func place(_ device: EmulatedDevice) throws(EmulationError) -> PCIAddress {
    if let wanted = device.address {
      guard devices.insert(wanted).inserted else {
        throw .invalid(subject: "\(wanted)", problem: "there is a device already")
      }
      return wanted
    }
    for bus in 1...UInt8.max {
      if let address = PCIAddress(bus: bus, device: 0, function: 0),
        devices.insert(address).inserted
      {
        return address
      }
    }
    throw .invalid(subject: "a device", problem: "all buses are taken; give it an address")
  }

  /// The lowest free place for a BAR of `size` bytes; nil when the window is full.
  mutating func place(_ size: ByteCount, is64Bit: Bool) -> AddressRange<PhysicalSpace>? {
    let window = is64Bit ? Window.high : Window.low
    var start = PhysicalAddress(window.lowerBound)
    // In order of address, so that one pass finds the first gap.
    for taken in memory.sorted(by: { $0.first < $1.first }) {
      guard let wanted = AddressRange(start: start, size: size) else { return nil }
      guard taken.overlaps(wanted) else { continue }
      // No overflow: ranges of a tree end below 2^64 - 1 (ResourceTable).
      guard let aligned = ByteCount(taken.last.rawValue + 1).roundedUp(to: size) else {
        return nil
      }
      start = PhysicalAddress(aligned.rawValue)
    }
    guard let range = AddressRange(start: start, size: size),
      window.contains(range.last.rawValue)
    else { return nil }
    memory.append(range)
    return range
  }
}
