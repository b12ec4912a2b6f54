import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import Logging

// The end of leases: by their process's will, or by its death.

extension LeaseBroker {
  /// Ends a lease of the caller's process.
  func release(
    _ parameters: Broker1.Release.Parameters, by session: Session
  ) throws(BrokerError) -> EmptyReply {
    guard let lease = leases[parameters.lease], lease.isHeld else {
      throw .noSuchLease(lease: parameters.lease)
    }
    // The owner is the process, not the connection: one that had to connect again may still
    // release.
    guard lease.process == session.process.id, lease.user == session.user else {
      throw .permissionDenied
    }
    guard lease.generation == parameters.generation else {
      throw .staleGeneration(lease: lease.id, generation: lease.generation)
    }
    logger.notice("release", metadata: metadata(of: lease))
    end(lease)
    return EmptyReply()
  }

  /// Ends a lease: once nothing reaches its memory that goes to the scrubber, and only then back to
  /// the pool.
  func end(_ lease: LeaseTable.Entry) {
    leases.end(lease.id)
    if let region = regions[lease.region], regions.end(lease, in: region) { return }
    leases.remove(lease.id)
    // No memory, but room in the table and in a quota.
    scheduleRetry()
  }
}

extension LeaseBroker: RegionObserver {
  func voidLeases(of region: AttachedRegion) {
    for lease in leases.entries(in: region.id) { leases.remove(lease.id) }
  }

  func revokeLeases(of region: AttachedRegion, because cause: String) {
    for lease in leases.entries(in: region.id) {
      guard lease.isHeld else {
        leases.remove(lease.id)
        continue
      }
      leases.revoke(lease.id)
      // The holder of one that was revoked before has been told.
      if lease.state != .revoked { publishRevocation(of: lease, because: cause) }
    }
  }

  func leaseIsUnreached(_ lease: LeaseID) { leases.quarantine(lease) }

  func leaseIsClean(_ lease: LeaseID, in region: AttachedRegion) {
    leases.remove(lease)
    logger.debug("clean", metadata: ["lease": "\(lease)", "pool": "\(region.name)"])
  }

  func memoryChanged() { scheduleRetry() }

  func scrubbed() { retryParked() }

  func forget(_ processes: [ProcessID]) { processes.forEach(server.forgetIfIdle) }

  func isAwaited(_ region: RegionID) -> Bool { leases.isAwaited(region) }

  func drained(_ name: String) { onDrained(name) }

  func deviceReady(_ device: String) { onDeviceReady(self, device) }
}
