import Broker
import BrokerProtocol
import DeviceMemory
import Logging

/// Sees to it that the pools of the configuration are attached, and none that it has given up.
///
/// Pools that others attached, by `--attach` or over the socket, are not its business.
final class ConfiguredPools {
  private let provider: any DeviceProvider
  private let logger: Logger
  private var entries: [PoolEntry] = []
  /// What it has attached, by the pool's name; the broker waits for the memory of some. Those not
  /// wanted any more are being drained.
  private var attached: [String: WantedPool] = [:]
  /// Failures that were reported, by their subject: each is logged once, not for every other event.
  private var reported: [String: String] = [:]

  init(provider: any DeviceProvider, logger: Logger) {
    self.provider = provider
    self.logger = logger
  }

  /// The configuration wants `entries` from now on.
  func want(_ entries: [PoolEntry]) {
    self.entries = entries
    reported = [:]
  }

  /// The names of pools that are wanted, and that the broker has not attached.
  /// - Parameter kept: the entries that count; others have a line of their own.
  func missing(from broker: LeaseBroker, among kept: [PoolEntry]) -> Set<String> {
    let kept = Set(kept)
    return Set((wantedPools(of: entries.filter(kept.contains)) ?? []).map(\.name))
      .subtracting(broker.attachedPoolNames)
  }

  /// The names of pools whose memory ``reconcile(_:)`` erases now or when an old pool has been
  /// drained, in the order of the file: those that are not attached as they are wanted.
  func erasable(in broker: LeaseBroker) -> [String] {
    let names = Set(broker.poolNames)
    return (wantedPools() ?? []).filter { pool in
      // A name that a pool of another origin has is neither erased nor attached.
      guard names.contains(pool.name) else { return true }
      return attached[pool.name].map { $0 != pool } ?? false
    }.map(\.name)
  }

  /// Attaches what is wanted and missing, and drains what is not wanted. What fails is logged and
  /// tried again the next time: at a reload, when a pool has been drained, when a device comes.
  func reconcile(_ broker: LeaseBroker) {
    let names = Set(broker.poolNames)
    // An admin may have detached some.
    attached = attached.filter { names.contains($0.key) }
    guard let wanted = wantedPools() else { return }
    let wantedSet = Set(wanted)
    for (name, pool) in attached.sorted(by: { $0.key < $1.key }) where !wantedSet.contains(pool) {
      giveUp(name, broker)
    }
    provider.openingMany { attachMissing(wanted, broker) }
  }

  /// Attaches what is missing of `wanted`, but for pools that another is in the way of. That one is
  /// being drained, and its end brings us back here.
  private func attachMissing(_ wanted: [WantedPool], _ broker: LeaseBroker) {
    var owners = Dictionary(grouping: attached.values, by: \.place)
    for pool in wanted {
      if attached[pool.name] == pool {
        // It may have been on its way out.
        try? broker.keep(pool: pool.name)
        // An admin may have attached it anew, with another policy or none.
        try? broker.setPolicy(pool.policy, ofPool: pool.name)
        attached[pool.name] = pool
      } else if attached[pool.name] == nil, (owners[pool.place] ?? []).allSatisfy({ $0 == pool }) {
        attach(pool, broker)
        if attached[pool.name] == pool { owners[pool.place, default: []].append(pool) }
      }
    }
  }

  /// All that is wanted of the devices there are; nil if those cannot be told.
  private func wantedPools() -> [WantedPool]? { wantedPools(of: entries) }

  private func wantedPools(of entries: [PoolEntry]) -> [WantedPool]? {
    guard !entries.isEmpty else { return [] }
    let devices: [Broker1.Device]
    do {
      devices = try provider.listing()
    } catch {
      report(.error, "no devices", "", ["cause": "\(error)"])
      return nil
    }
    return entries.flatMap { entry in
      let wanted = entry.wanted(among: devices)
      if wanted.isEmpty {
        report(
          .warning, "no device for a pool", entry.description,
          [
            "pool": "\(entry.name ?? "unnamed")", "wanted": "\(entry)",
            "cause": "it is not plugged in; the pool comes when it is",
          ])
      }
      return wanted
    }
  }

  private func attach(_ pool: WantedPool, _ broker: LeaseBroker) {
    do throws(BrokerError) {
      _ = try broker.attachWhenFree(
        pool.parameters, isolation: pool.isolation == .cooperative ? .cooperative : nil,
        policy: pool.policy, isSearched: pool.isSearched)
      attached[pool.name] = pool
      reported[pool.name] = nil
    } catch {
      report(.error, "cannot attach", pool.name, ["pool": "\(pool.name)", "cause": "\(error)"])
    }
  }

  private func giveUp(_ name: String, _ broker: LeaseBroker) {
    do throws(BrokerError) {
      guard let reason = try broker.drain(pool: name) else {
        attached[name] = nil
        return
      }
      report(
        .notice, "drain", name,
        [
          "pool": "\(name)", "cause": "\(reason)",
          "then": "no new leases; detached when those processes have ended",
        ])
    } catch {
      report(.error, "cannot detach", name, ["pool": "\(name)", "cause": "\(error)"])
    }
  }

  /// Logs an event, but not the same of the same subject twice in a row.
  private func report(
    _ level: Logger.Level, _ event: Logger.Message, _ subject: String, _ metadata: Logger.Metadata
  ) {
    let text = "\(event) \(metadata["cause"] ?? "")"
    guard reported.updateValue(text, forKey: subject) != text else { return }
    logger.log(level: level, event, metadata: metadata)
  }
}
