import BrokerLeases
public import BrokerProtocol
import DeviceMemory
import GenPool
public import LinuxSystem
import Logging

// Devices come and go.

/// News of a device, by its address in canonical form.
public enum DeviceNews: Hashable, Sendable {
  case added(String)
  case removed(String)
  /// The kernel wants the device back: it is being removed, or its driver unbound, and that waits
  /// until nobody has it open.
  case requested(String)
  /// News were lost: what is there has to be looked up.
  case lost
}

extension LeaseBroker {
  /// Reads news from `drain` whenever `descriptor` has some, until `drain` returns nil: the source
  /// has ended. The descriptor must stay open until then.
  public func watchDevices(
    _ descriptor: CInt, drain: @escaping () -> [DeviceNews]?
  ) throws(SystemError) {
    let source = NewsSource()
    source.watch = try loop.add(descriptor, .readable) { [unowned self] _ in
      guard let news = drain() else {
        logger.error("hot-plug is not watched any more")
        if let watch = source.watch { loop.remove(watch) }
        return
      }
      for item in news { hear(item) }
    }
  }

  /// Its own watch, which ends with it.
  private final class NewsSource {
    var watch: EventLoop.Watch?
  }

  /// Acts on what has happened to devices.
  public func hear(_ news: DeviceNews) {
    switch news {
    case .added(let device):
      logger.debug("device added", metadata: ["device": "\(printable(device))"])
      onDeviceReady(self, device)
    case .removed(let device):
      regions.holdersHaveLetGo { $0.device == device && $0.source == .vfio }
      regions.deviceRemoved { $0.device == device }
    case .requested(let device):
      regions.deviceRequested { $0.device == device && $0.source == .vfio }
    case .lost:
      do throws(BrokerError) {
        let present = try provider.devices().map(\.address)
        let known = Set(regions.all.map(\.device))
        regions.deviceRemoved { !present.contains($0.device) }
        for device in present where !known.contains(device) { onDeviceReady(self, device) }
      } catch {
        logger.error("list devices", metadata: ["cause": "\(error)"])
      }
    }
  }

  /// The pools, revoked ones too, in the order in which they were attached.
  public var pools: [Broker1.Pool] { regions.all.map(\.description) }
}
