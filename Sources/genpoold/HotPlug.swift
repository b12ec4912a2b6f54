import Broker
import BrokerProtocol
import DeviceEvents
import DeviceMemory
import LinuxSystem
import Logging
import PCIDevices

/// Devices that come and go while the daemon runs: the memory of those that go is revoked, and
/// wanted pools of those that come are attached.
final class HotPlug {
  private let tree: DeviceTree
  private let events: any DeviceEventSource
  private let logger: Logger
  private let wanted: [Broker1.Attach.Parameters]
  private let pools: ConfiguredPools
  /// Whether the configuration's pools are looked after in a moment.
  private var isReconciling = false

  /// Watches the devices under `root` for `broker`, which has to be told before it attaches any:
  /// nothing is missed then.
  /// - Parameter wanted: the pools to attach whenever their device is plugged in. One that an admin has
  ///   detached stays so until then.
  /// - Parameter pools: those of the configuration, which are looked after too.
  init(
    of root: SysfsRoot, for broker: LeaseBroker, wanted: [Broker1.Attach.Parameters],
    pools: ConfiguredPools, logger: Logger
  ) throws(SystemError) {
    tree = DeviceTree(root: root)
    events = try DeviceEvents.watch(tree)
    self.wanted = wanted
    self.pools = pools
    self.logger = logger
    // The broker keeps this alive, as long as it waits for the descriptor.
    try broker.watchDevices(events.descriptor) { self.drain() }
    broker.onDeviceReady = { broker, device in
      self.attach(device, to: broker)
      self.reconcile(broker)
    }
  }

  /// Looks after the configuration's pools once for all devices that come at a time: that lists
  /// every device.
  private func reconcile(_ broker: LeaseBroker) {
    guard !isReconciling else { return }
    isReconciling = true
    broker.afterThis { [unowned broker] in
      self.isReconciling = false
      self.pools.reconcile(broker)
    }
  }

  private func drain() -> [DeviceNews]? {
    var news: [DeviceNews] = []
    do throws(SystemError) {
      try events.drain { event in
        switch event {
        case .added(let device): news.append(.added(device.description))
        case .removed(let device): news.append(.removed(device.description))
        case .changed(let device):
          // One that was bound to vfio-pci can be opened now.
          if isBoundToVFIO(device) { news.append(.added(device.description)) }
        case .overrun: news.append(.lost)
        }
      }
      return news
    } catch {
      logger.error("watch devices", metadata: ["cause": "\(error)"])
      return nil
    }
  }

  private func isBoundToVFIO(_ device: PCIAddress) -> Bool {
    (try? tree.device(at: device))?.isVFIOs == true
  }

  private func attach(_ device: String, to broker: LeaseBroker) {
    let present = Set(broker.poolNames)
    // What is VFIO's is opened otherwise only when somebody says so.
    let isBound = PCIAddress(device).map(isBoundToVFIO) ?? false
    for pool in wanted
    where !isBound || pool.source == MemorySource.vfio.rawValue {
      guard let id = try? pool.id(), "\(id.device)" == device,
        !present.contains(pool.name ?? "\(device)/\(id.part)")
      else { continue }
      do throws(BrokerError) {
        _ = try broker.attachWhenFree(pool)
      } catch .noSuchDevice {
        // The memory of one that went is free; it has not come back.
      } catch {
        logger.error("attach", metadata: ["device": "\(device)", "cause": "\(error)"])
      }
    }
  }
}
