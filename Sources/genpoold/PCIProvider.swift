import Broker
import BrokerProtocol
import DeviceMemory
import DeviceOpener
import DeviceSources
import GenPool
import LinuxSystem
import Logging
import PCIDevices
import SystemPackage

/// The devices of a sysfs root, for the broker. Their memory is opened through sysfs, or through
/// VFIO where that is asked for.
final class PCIProvider: DeviceProvider {
  private let opener: DeviceOpener
  private let facts: DeviceFacts

  /// No other client is served while a controller is waited for.
  private static let timeout = Duration.seconds(5)

  /// The devices under `root`. Opens the database of names, nothing else.
  init(root: SysfsRoot, logger: Logger) throws(DeviceError) {
    opener = DeviceOpener(root: root, timeout: Self.timeout) { failure in
      logger.error("not restored", metadata: ["cause": "\(failure)"])
    }
    requests = try opener.removalRequests()
    facts = DeviceFacts(of: opener.tree)
  }

  /// The devices that the kernel wants back.
  let requests: RemovalRequests

  var listing: Listing { { [facts] () throws(BrokerError) in try facts.devices() } }

  func open(_ request: AttachRequest) throws(BrokerError) -> OpenBAR {
    try Self.open(request, by: opener)
  }

  func openingMany<Failure: Error>(_ body: () throws(Failure) -> Void) throws(Failure) {
    try opener.tree.readingSharedOnce(body)
  }

  func opening(of request: AttachRequest) -> Opening {
    { [opener] () throws(BrokerError) in try Self.open(request, by: opener) }
  }

  private static func open(
    _ request: AttachRequest, by opener: DeviceOpener
  ) throws(BrokerError) -> OpenBAR {
    try opener.tree.readingSharedOnce { () throws(BrokerError) in
      try openAlone(request, by: opener)
    }
  }

  private static func openAlone(
    _ request: AttachRequest, by opener: DeviceOpener
  ) throws(BrokerError) -> OpenBAR {
    let address = request.memory.device
    // Only a hint, so a device that is gone meanwhile is for the source to notice.
    let device = try? opener.tree.device(at: address)
    do throws(DeviceError) {
      let opened = try opener.open(
        request.memory,
        OpeningOptions(
          source: request.source, naming: request.isSearched ? .bySearch : .byAddress,
          allowed: Set(request.allow), protectsPersistent: !request.mayErase))
      let (bar, offset) = (opened.bar, opened.offset)
      return OpenBAR(
        device: address.description, bar: bar.rawValue, offset: offset,
        numaNode: device?.numaNode?.rawValue, reach: Self.reach(bar, of: device, request.source),
        releasedSources: Self.releasedSources(device), range: opened.intoRange())
    } catch {
      throw BrokerError(error)
    }
  }
}

extension PCIProvider {
  /// The physical addresses that a descriptor reaches: through sysfs all of the BAR, through VFIO
  /// all of the device.
  private static func reach(
    _ bar: BAR.Index, of device: Device?, _ source: MemorySource
  ) -> [AddressRange<PhysicalSpace>] {
    let bars = device?.bars.filter { source == .vfio || $0.index == bar } ?? []
    return bars.filter { $0.kind == .memory }.compactMap(\.physical)
  }

  /// VFIO, where the device is not bound to its driver. Opening keeps it so.
  private static func releasedSources(_ device: Device?) -> Set<MemorySource> {
    guard let device, !device.isVFIOs else { return [] }
    return [.vfio]
  }
}

extension BrokerError {
  /// The interface's form of a device's error.
  init(_ error: DeviceError) {
    self =
      switch error {
      case .noSuchDevice(let address, _): .noSuchDevice(device: address.description, bar: nil)
      case .refused(let address, let refusals):
        .deviceRefused(
          device: address.description,
          rules: refusals.map {
            Broker1.Refusal(rule: $0.rule, subject: $0.subject, cause: $0.cause, cure: $0.cure)
          })
      default: .system(error.asSystemError)
      }
  }
}
