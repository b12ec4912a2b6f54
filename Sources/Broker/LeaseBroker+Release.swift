import BrokerLeases
import BrokerProtocol
import Glibc
import Logging

// The end of leases: by their process's will or its death, by an admin, or with their region.

extension LeaseBroker {
  /// Ends a lease of the caller's process.
  func release(
    _ parameters: Broker1.Release.Parameters, by session: Session
  ) throws(BrokerError) -> EmptyReply {
    let lease = try leases.releasable(parameters, by: session.process.id, session.user)
    auditor.log("release", of: lease.account, regions.metadata(of: lease))
    end(lease)
    return EmptyReply()
  }

  /// Revokes a lease for an admin; its holder is told.
  ///
  /// The holder may still map the memory and reach it by its descriptor, and nothing takes either
  /// from it. So the memory is scrubbed and leased again only when the holder has released the
  /// lease or died, as with any other.
  func forceRelease(
    _ parameters: Broker1.ForceRelease.Parameters, by session: Session
  ) throws(BrokerError) -> Broker1.ForceRelease.Reply {
    let lease = try leases.held(parameters.lease)
    guard let region = regions[lease.region] else { throw .noSuchLease(lease: lease.id) }
    if leases.revoke(lease.id) {
      var metadata = regions.metadata(of: lease)
      metadata["admin"] = "\(session.user)"
      metadata["adminPid"] = "\(session.process.pid)"
      logger.notice("force release", metadata: metadata)
      server.publish(region.revocation(of: lease, because: "an admin took it back"))
    }
    return Broker1.ForceRelease.Reply(lease: region.describe(try leases.held(lease.id)))
  }

  /// Ends a lease: once nothing reaches its memory that goes to the scrubber, and only then back to
  /// the pool.
  func end(_ lease: LeaseTable.Entry) {
    // Before the lease ends: its holder may have truncated the memory.
    if let region = regions[lease.region] { regions.restoreLength(of: region) }
    leases.end(lease.id)
    if let region = regions[lease.region], regions.end(lease, in: region) { return }
    leases.remove(lease.id)
    // No memory, but room in the table and in a quota.
    scheduleRetry()
  }

  /// Ends the leases of a process that has died, a few at a time, but for what its children and
  /// others have of them.
  func bury(_ process: ProcessID) {
    dying.insert(process)
    loop.inSlices { [unowned self] in
      guard let lease = leases.held(by: process, limit: 1).first else {
        dying.remove(process)
        regions.removeHolder(process)
        scheduleRetry()
        return false
      }
      auditor.log("reclaim", of: lease.account, regions.metadata(of: lease))
      end(lease)
      return true
    }
  }
}

extension LeaseBroker: RegionObserver {
  func publish(_ event: Broker1.Event) { server.publish(event) }

  func voidLeases(of region: AttachedRegion) { leases.removeAll(in: region.id) }

  func revokeLeases(of region: AttachedRegion, because cause: String) {
    tellHolders(of: leases.revokeAll(in: region.id)) { [unowned self] lease in
      server.publish(region.revocation(of: lease, because: cause))
    }
  }

  /// The most holders that are told at once of what was revoked; others a few at a time.
  private static let toldAtOnce = 64

  private func tellHolders(
    of revoked: [LeaseTable.Entry], _ tell: @escaping (LeaseTable.Entry) -> Void
  ) {
    for lease in revoked.prefix(Self.toldAtOnce) { tell(lease) }
    var rest = revoked.dropFirst(Self.toldAtOnce)
    guard !rest.isEmpty else { return }
    loop.inSlices {
      if let lease = rest.popFirst() { tell(lease) }
      return !rest.isEmpty
    }
  }

  func revokeHeldLeases(
    of region: AttachedRegion, sparing spared: LeaseID?, because cause: String
  ) {
    let held = leases.held(in: region.id).filter { $0.id != spared }
    // Processes without a lease may have descriptors still.
    let users = Set(held.map(\.user)).union(region.holders.values.joined()).sorted {
      $0.rawValue < $1.rawValue
    }
    limiter.log(
      .warning, "truncated", of: UID(rawValue: geteuid()),
      [
        "pool": "\(region.name)", "cause": "\(cause)", "leases": "\(held.count)",
        "uid": "\(users.isEmpty ? "none" : users.map(\.description).joined(separator: ", "))",
      ])
    tellHolders(of: held.filter { leases.revoke($0.id) }) { [unowned self] lease in
      limiter.log(
        .warning, "lease revoked", of: lease.account,
        regions.metadata(of: lease).merging(["cause": "\(cause)"]) { $1 })
      server.publish(region.revocation(of: lease, because: cause))
    }
  }

  func leaseIsContested(_ lease: LeaseID, _ isContested: Bool) {
    leases.setContested(isContested, lease)
  }

  func leaseIsUnreached(_ lease: LeaseID) { leases.quarantine(lease) }

  func leaseIsClean(_ lease: LeaseID, in region: AttachedRegion) {
    leases.remove(lease)
    logger.debug("clean", metadata: ["lease": "\(lease)", "pool": "\(region.name)"])
  }

  func memoryChanged(of region: AttachedRegion) {
    leases.noteChange(of: region.id)
    scheduleRetry()
  }

  func regionsChanged() {
    leases.noteChange(of: nil)
    scheduleRetry()
  }

  func scrubbed(_ region: AttachedRegion) {
    leases.noteChange(of: region.id)
    retry()
  }

  func forget(_ processes: [ProcessID]) { processes.forEach(server.forgetIfIdle) }

  func isAwaited(_ region: RegionID) -> Bool { leases.isAwaited(region) }

  func drained(_ name: String) { onDrained(name) }

  func deviceReady(_ device: String) { onDeviceReady(self, device) }
}
