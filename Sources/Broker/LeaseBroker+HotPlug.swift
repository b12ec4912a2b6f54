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
  /// The kernel wants the device back: it is being removed, or its driver unbound, and that waits until
  /// nobody has it open.
  case requested(String)
  /// News were lost: what is there has to be looked up.
  case lost
}

extension LeaseBroker {
  /// Reads news from `drain` whenever `descriptor` has some, until `drain` returns nil: the source has
  /// ended. The descriptor must stay open until then.
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
      // What waits for everybody to let go has waited.
      for region in regions where region.device == device && region.source == .vfio {
        forgetHolders(of: region)
      }
      giveUp { $0.device == device }
    case .requested(let device):
      giveBack { $0.device == device && $0.source == .vfio }
    case .lost:
      do throws(ProviderError) {
        let present = try provider.devices().map(\.address)
        let known = Set(regions.map(\.device))
        giveUp { !present.contains($0.device) }
        for device in present where !known.contains(device) { onDeviceReady(self, device) }
      } catch {
        logger.error("list devices", metadata: ["cause": "\(error.failure)"])
      }
    }
  }

  /// The pools, revoked ones too, in the order in which they were attached.
  public var pools: [Broker1.Pool] { regions.map(\.description) }

  /// Revokes regions whose device has gone. What holds them, a mapping over an address that may soon
  /// be another device's, keeps them in the list, so that nothing is attached in their place.
  private func giveUp(_ hasGone: (AttachedRegion) -> Bool) {
    for region in regions where hasGone(region) {
      revoke(region, because: "device \(region.device) was removed")
      region.hasGone = true
      followUp(region)
    }
  }

  /// Revokes regions whose device the kernel wants back, and lets go of them at once: it waits for that,
  /// and for the holders, who are told.
  private func giveBack(_ isWanted: (AttachedRegion) -> Bool) {
    for region in regions where isWanted(region) {
      revoke(region, because: "device \(region.device) is being removed, or its driver unbound")
      region.close()
      region.hasGone = true
      forgetIfGone(region)
    }
  }

  /// Forgets a region without a device once no process that was lent its memory can reach it any more. Where
  /// the kernel cannot tell of others a record of what is outstanding stays.
  func forgetIfGone(_ region: AttachedRegion) {
    guard region.hasGone, region.holders.isEmpty, region.answer != .reached,
      regions.contains(where: { $0 === region })
    else { return }
    for lease in leases.entries(in: region.id) { leases.remove(lease.id) }
    regions.removeAll { $0 === region }
    closeRecord(of: region)
    region.close()
    logger.info("gone", metadata: ["pool": "\(region.name)"])
    publish(Broker1.Event(event: .regionRemoved, pool: region.name))
    scheduleRetry()
    // Its place may be taken by now. Who is told attaches, which is nothing for the middle of a loop
    // over regions.
    loop.after(.zero) { [unowned self] in
      onDeviceReady(self, region.device)
    }
  }
}
