import BrokerProtocol
import GenPool
import PCIDevices

/// A device as `--json` shows it, with the field names of io.genpool.Broker1's `Device`. What is not
/// known is left out.
struct DeviceDocument: Encodable {
  let address: String
  let vendorID: UInt16
  let deviceID: UInt16
  let classCode: UInt32
  let className: String?
  let name: String?
  let driver: String?
  let iommuGroup: UInt32?
  let numaNode: Int?
  let powerState: String?
  let memoryEnabled: Bool
  let bars: [BARDocument]
  /// The parts that could not be read, a sentence each.
  let problems: [String]
  /// The uses that the running system has for it; nil where they were not asked for.
  let uses: [String]?
  /// The way in which its memory could be attached; nil where that was not asked for.
  let verdict: DeviceVerdict?

  init(
    _ device: Device, _ names: borrowing DeviceNames, verdict: DeviceVerdict? = nil
  ) {
    self.verdict = verdict
    uses = verdict?.uses
    address = device.address.description
    vendorID = device.identity.vendor
    deviceID = device.identity.device
    classCode = device.classCode.rawValue
    className = names.className(of: device)
    name = names.name(of: device)
    driver = device.driver
    iommuGroup = device.iommuGroup?.number
    numaNode = device.numaNode?.rawValue
    powerState = device.powerState?.rawValue
    memoryEnabled = device.isMemoryEnabled
    bars = device.bars.map(BARDocument.init)
    problems = device.problems.map(\.description)
  }
}

/// A BAR as `--json` shows it. Without a place for a BAR that the kernel found none for, and for I/O.
struct BARDocument: Encodable {
  let index: Int
  let physical: PhysicalAddress?
  let bus: BusAddress?
  let size: ByteCount
  let kind: String
  let prefetchable: Bool
  let width64: Bool

  init(_ bar: BAR) {
    index = bar.index.rawValue
    physical = bar.physical?.first
    bus = bar.bus
    size = bar.size
    kind = bar.kind.rawValue
    prefetchable = bar.isPrefetchable
    width64 = bar.is64Bit
  }
}
