import BrokerProtocol
import GenPool
import PCIDevices
import PCINames
import Synchronization

/// The facts of the machine's devices, as the broker tells them. Safe to use from many threads.
final class DeviceFacts: Sendable {
  private let tree: DeviceTree
  private let names: Mutex<PCINames?>

  /// The devices of `tree`. Opens the database of names, nothing else.
  init(of tree: DeviceTree) {
    self.tree = tree
    names = Mutex(PCINames())
  }

  /// The devices that have memory, attached or not.
  func devices() throws(BrokerError) -> [Broker1.Device] {
    let listing: DeviceTree.Listing
    do {
      listing = try tree.list()
    } catch {
      throw BrokerError(error)
    }
    return listing.devices.compactMap { device in
      let bars = device.bars.compactMap(Broker1.BAR.init)
      return bars.isEmpty ? nil : describe(device, bars)
    }
  }

  private func describe(_ device: Device, _ bars: [Broker1.BAR]) -> Broker1.Device {
    let identity = device.identity
    let (className, name) = names.withLock { names in
      (
        names?.name(class: UInt16(truncatingIfNeeded: device.classCode.rawValue >> 8)),
        names?.name(vendor: identity.vendor, device: identity.device)
      )
    }
    return Broker1.Device(
      address: device.address.description, vendorID: identity.vendor, deviceID: identity.device,
      classCode: device.classCode.rawValue, className: className, name: name,
      driver: device.driver, iommuGroup: device.iommuGroup.map { Int($0.number) },
      numaNode: device.numaNode?.rawValue, powerState: device.powerState?.rawValue, bars: bars)
  }
}

extension Broker1.BAR {
  /// A BAR that is memory and has an address; nil for any other.
  fileprivate init?(_ bar: BAR) {
    guard bar.kind == .memory, let physical = bar.physical else { return nil }
    self.init(
      index: bar.index.rawValue, physical: physical.first, bus: bar.bus, size: bar.size,
      kind: bar.kind.rawValue, prefetchable: bar.isPrefetchable, width64: bar.is64Bit)
  }
}
