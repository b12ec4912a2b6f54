import Broker
import BrokerProtocol
import DeviceMemory
import DeviceSources
import GenPool
import LinuxSystem
import Logging
import NVMe
import PCIDevices
import PCINames
import SystemPackage

/// The devices of a sysfs root, for the broker. Their memory is opened through sysfs, or through
/// VFIO where that is asked for.
final class PCIProvider: DeviceProvider {
  private let tree: DeviceTree
  private let sysfs: SysfsSource
  private let vfio: VFIOSource
  private let controllers: Controllers
  private let names: PCINames?

  /// The devices under `root`. Opens the database of names, nothing else.
  init(root: SysfsRoot, logger: Logger) throws(SystemError) {
    tree = DeviceTree(root: root)
    sysfs = SysfsSource(root: root) { failure in
      logger.error("not restored", metadata: ["cause": "\(failure)"])
    }
    vfio = try VFIOSource(root: root)
    controllers = Controllers { failure in
      logger.error("not restored", metadata: ["cause": "\(failure)"])
    }
    names = PCINames()
  }

  /// The devices that the kernel wants back.
  var requests: RemovalRequests { vfio.requests }

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
    return Broker1.Device(
      address: device.address.description, vendorID: identity.vendor, deviceID: identity.device,
      classCode: device.classCode.rawValue,
      className: names?.name(class: UInt16(truncatingIfNeeded: device.classCode.rawValue >> 8)),
      name: names?.name(vendor: identity.vendor, device: identity.device),
      driver: device.driver, iommuGroup: device.iommuGroup.map { Int($0.number) },
      numaNode: device.numaNode?.rawValue, powerState: device.powerState?.rawValue, bars: bars)
  }

  func open(_ request: AttachRequest) throws(BrokerError) -> OpenBAR {
    guard let address = PCIAddress(request.device) else {
      throw .invalidParameter(parameter: "device")
    }
    let naming: BARRequest.Naming = request.isSearched ? .bySearch : .byAddress
    let source: any BARSource =
      switch request.source ?? .sysfs {
      case .sysfs: sysfs
      case .vfio: vfio
      }
    // Only a hint, so a device that is gone meanwhile is for the source to notice.
    let device = try? tree.device(at: address)
    let node = device?.numaNode?.rawValue
    let kind: ControllerMemory.Kind
    switch request.memory {
    case .bar(let number):
      guard let bar = BAR.Index(number) else { throw .invalidParameter(parameter: "bar") }
      if !request.mayErase, bar != 0 {
        try refusePersistent(bar, of: address, source, naming, Set(request.allow))
      }
      let wanted = BARRequest(
        device: address, bar: bar, offset: request.offset ?? .zero, size: request.size,
        naming: naming, allowed: Set(request.allow))
      do throws(DeviceError) {
        return OpenBAR(
          device: address.description, bar: number, offset: wanted.offset, numaNode: node,
          reach: Self.reach(bar, of: device, request.source),
          releasedSources: Self.releasedSources(device),
          range: try source.open(wanted))
      } catch {
        throw BrokerError(error)
      }
    case .controllerMemoryBuffer: kind = .buffer
    case .persistentMemoryRegion:
      kind = .persistentRegion
      // One that is not there need not be spared.
      if !request.mayErase {
        try refusePersistent(nil, of: address, source, naming, Set(request.allow))
      }
    }
    do throws(DeviceError) {
      let controller = try controllers.controller(
        at: address, source: source, naming: naming, allowed: Set(request.allow))
      let opened = try controller.open(kind)
      let memory = opened.memory
      return OpenBAR(
        device: address.description, bar: memory.bar.rawValue, offset: memory.offset,
        numaNode: node, reach: Self.reach(memory.bar, of: device, request.source),
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
    _ bar: BAR.Index, of device: Device?, _ source: MemorySource?
  ) -> [AddressRange<PhysicalSpace>] {
    let bars = device?.bars.filter { source == .vfio || $0.index == bar } ?? []
    return bars.filter { $0.kind == .memory }.compactMap(\.physical)
  }

  /// VFIO, where the device is not bound to its driver. Opening keeps it so.
  private static func releasedSources(_ device: Device?) -> Set<MemorySource> {
    guard let device, device.driver != IOMMUGroup.vfioDriver else { return [] }
    return [.vfio]
  }

  /// Refuses the BAR that an NVMe controller's persistent memory region is in, or with nil the
  /// region.
  private func refusePersistent(
    _ bar: BAR.Index?, of address: PCIAddress, _ source: any BARSource,
    _ naming: BARRequest.Naming, _ allowed: Set<String>
  ) throws(BrokerError) {
    do throws(DeviceError) {
      let controller = try controllers.controller(
        at: address, source: source, naming: naming, allowed: allowed)
      guard let found = try controller.persistentBAR(), bar == nil || bar == found else { return }
    } catch .notNVMe {
      return
    } catch {
      throw BrokerError(error)
    }
    throw .deviceRefused(device: address.description, rules: [.persistent(address.description)])
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
