public import BrokerLeases
public import BrokerProtocol
public import DeviceMemory
public import LinuxSystem
import Logging

// Pools and devices, for the process that runs the broker.

extension LeaseBroker {
  /// The pools, revoked ones too, in the order in which they were attached; then those that are
  /// waited for.
  public var pools: [Broker1.Pool] {
    regions.list.map(\.description) + regions.waiting.map(\.description)
  }

  /// The pools' names that are taken, of pools that are waited for too.
  public var poolNames: [String] { regions.names }

  /// The names of the pools that are attached and work: none that is waited for or revoked.
  public var attachedPoolNames: [String] {
    regions.list.filter { !$0.isRevoked }.map(\.name)
  }

  /// Makes a pool of a BAR, as the Attach call does. It is erased, and leases as it becomes clean.
  ///
  /// `isolation` may promise clients less than the device's opener does: `cooperative`.
  /// `policy` says who may lease of it, and how much; nil for what the parameters name.
  /// `isSearched` tells that a search chose the device, which was not named by its address.
  public func attach(
    _ parameters: Broker1.Attach.Parameters, isolation: Isolation? = nil,
    policy: PoolPolicy? = nil, isSearched: Bool = false
  ) throws(BrokerError) -> Broker1.Pool {
    try regions.attach(
      parameters, isolation: isolation, policy: policy, isSearched: isSearched
    ).description
  }

  /// Makes a pool of a BAR now, or as soon as its memory is not in use any more: until then the
  /// pool is listed as waiting, and its memory is tried again and again, unless it is detached.
  ///
  /// Throws what time does not mend.
  public func attachWhenFree(
    _ parameters: Broker1.Attach.Parameters, isolation: Isolation? = nil,
    policy: PoolPolicy? = nil, isSearched: Bool = false
  ) throws(BrokerError) -> Broker1.Pool {
    try regions.attachWhenFree(
      parameters, isolation: isolation, policy: policy, isSearched: isSearched)
  }

  /// Detaches a pool as soon as no process reaches its memory; none leases of it meanwhile. Returns
  /// what keeps it, if anything does: then ``onDrained`` will be called.
  public func drain(pool name: String) throws(BrokerError) -> BrokerError? {
    try regions.drain(pool: name)
  }

  /// Gives a pool, attached or waited for, another policy: for Acquires from now on, those that
  /// wait too. No lease ends by that.
  /// - Throws: NoSuchPool.
  public func setPolicy(_ policy: PoolPolicy, ofPool name: String) throws(BrokerError) {
    try regions.setPolicy(policy, ofPool: name)
  }

  /// Takes a ``drain(pool:)`` back that has not come to its end. An admin's DrainPool stays.
  public func keep(pool name: String) throws(BrokerError) {
    try regions.keep(pool: name)
  }

  /// Reads news from `drain` whenever `descriptor` has some, until `drain` returns nil: the source
  /// has ended. The descriptor must stay open until then.
  public func watchDevices(
    _ descriptor: CInt, drain: @escaping () -> [DeviceNews]?
  ) throws(SystemError) {
    try loop.add(descriptor) { [unowned self] in
      guard let news = drain() else {
        logger.error("hot-plug is not watched any more")
        return false
      }
      for item in news { hear(item) }
      return true
    }
  }

  /// Calls `action` once, after what has happened by now: one for many events that come at a time.
  public func afterThis(_ action: @escaping () -> Void) { loop.afterThis(action) }

  /// Acts on news of a device.
  public func hear(_ news: DeviceNews) { regions.handle(news) }
}
