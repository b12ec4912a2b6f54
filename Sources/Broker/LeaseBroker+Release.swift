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
  ) throws(CallFailure) -> EmptyReply {
    guard let lease = leases[parameters.lease], lease.isHeld else {
      throw .broker(.noSuchLease(lease: parameters.lease))
    }
    // The owner is the process, not the connection: one that had to connect again may still release.
    guard lease.process == session.process.id, lease.user == session.user else {
      throw .service(.permissionDenied)
    }
    guard lease.generation == parameters.generation else {
      throw .broker(.staleGeneration(lease: lease.id, generation: lease.generation))
    }
    logger.notice("release", metadata: metadata(of: lease))
    end(lease)
    return EmptyReply()
  }

  /// Ends a lease: its memory goes to the scrubber, and only then back to the pool.
  func end(_ lease: LeaseTable.Entry) {
    guard let region = regions.first(where: { $0.id == lease.region }) else {
      leases.remove(lease.id)
      return
    }
    region.endLease(of: lease.size)
    guard !region.isRevoked else {
      leases.remove(lease.id)
      // No memory, but room in the table and in a quota.
      scheduleRetry()
      if region.hasGone { followUp(region) }
      return
    }
    leases.quarantine(lease.id)
    scrub(region, at: lease.offset, lease.size, lease: lease.id)
    if region.isDraining { followUp(region) }
  }
}
