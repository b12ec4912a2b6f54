import BrokerLeases
import BrokerProtocol
import Logging

extension LeaseBroker {
  /// ForceRelease, for admins: the lease is revoked and its holder told.
  ///
  /// The holder may still map the memory and reach it by its descriptor, and nothing takes either
  /// from it. So the memory is scrubbed and leased again only when the holder has released the
  /// lease or died, as with any other.
  func forceRelease(
    _ parameters: Broker1.ForceRelease.Parameters, by session: Session
  ) throws(BrokerError) -> Broker1.ForceRelease.Reply {
    guard session.isAdmin else { throw .permissionDenied }
    guard let lease = leases[parameters.lease], lease.isHeld else {
      throw .noSuchLease(lease: parameters.lease)
    }
    if lease.state != .revoked {
      leases.revoke(lease.id)
      var metadata = metadata(of: lease)
      metadata["admin"] = "\(session.user)"
      metadata["adminPid"] = "\(session.process.pid)"
      logger.notice("force release", metadata: metadata)
      publishRevocation(of: lease, because: "an admin took it back")
    }
    guard let description = leases[lease.id].flatMap(describe) else {
      throw .noSuchLease(lease: lease.id)
    }
    return Broker1.ForceRelease.Reply(lease: description)
  }
}
