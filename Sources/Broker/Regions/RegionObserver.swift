import BrokerLeases
import BrokerProtocol

/// Events of regions that concern leases, connections and the configuration.
protocol RegionObserver: AnyObject {
  /// A region was attached, revoked or removed.
  func publish(_ event: Broker1.Event)
  /// A region has been given up: its leases are void.
  func voidLeases(of region: AttachedRegion)
  /// A region's device does not answer, or not as memory: its leases must be used no longer.
  func revokeLeases(of region: AttachedRegion, because cause: String)
  /// A holder of a region has destroyed memory of it: the leases that are held, but for `spared`,
  /// must be used no longer. The region goes on.
  func revokeHeldLeases(
    of region: AttachedRegion, sparing spared: LeaseID?, because cause: String)
  /// Nothing reaches an ended lease's memory any more: it is being scrubbed.
  func leaseIsUnreached(_ lease: LeaseID)
  /// An ended lease's memory does not stay zero, or is scrubbed again.
  func leaseIsContested(_ lease: LeaseID, _ isContested: Bool)
  /// An ended lease's memory is clean.
  func leaseIsClean(_ lease: LeaseID, in region: AttachedRegion)
  /// Memory of a region came free, or will not any more: those that wait may be served.
  func memoryChanged(of region: AttachedRegion)
  /// There is a new region, or one may be leased of again.
  func regionsChanged()
  /// A scrubbed slice was taken in: those that wait may be served at once.
  func scrubbed(_ region: AttachedRegion)
  /// Processes hold nothing of a region any more.
  func forget(_ processes: [ProcessID])
  /// Whether an Acquire waits for memory of a region.
  func isAwaited(_ region: RegionID) -> Bool
  /// A region that was drained is detached now.
  func drained(_ name: String)
  /// A device's memory is not held any more: it may be attached again.
  func deviceReady(_ device: String)
}
