public import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import Logging

// Pools come and go.

extension LeaseBroker {
  /// Makes a pool of a BAR, as the Attach call does. It is erased, and leases as it becomes clean.
  public func attach(
    _ parameters: Broker1.Attach.Parameters
  ) throws(CallFailure) -> Broker1.Pool {
    let granule = try parameters.checkedGranule()
    try parameters.checkName()
    if let name = parameters.name, regions.contains(where: { $0.name == name }) {
      throw .broker(.poolExists(pool: name))
    }
    let request = AttachRequest(
      device: parameters.device, bar: parameters.bar, offset: parameters.offset,
      size: parameters.size, allow: parameters.allow ?? [])
    let open: OpenBAR
    do {
      open = try provider.open(request)
    } catch {
      throw error.failure
    }
    let region = try AttachedRegion(
      id: AttachedRegion.ID(rawValue: nextNumber()), name: parameters.name, granule: granule,
      open: open)
    guard !regions.contains(where: { $0.name == region.name }) else {
      throw .broker(.poolExists(pool: region.name))
    }
    // The provider locks BARs against other processes. That descriptors of two pools of ours would
    // reach one BAR, and two users by them, is ours to refuse.
    if let other = regions.first(where: { $0.isSameBAR(as: region) }) {
      throw .broker(
        .deviceError(
          operation: "attach", subject: region.label, errno: EBUSY,
          cause: "pool \(other.name) has a part of this BAR, and a descriptor reaches all of it"))
    }
    regions.append(region)
    scrub(region, at: .zero, region.usable)
    logger.info(
      "attach",
      metadata: [
        "pool": "\(region.name)", "memory": "\(printable(region.label))", "size": "\(region.size)",
        "caching": "\(region.caching.rawValue)", "isolation": "\(region.isolation.rawValue)",
      ])
    return region.description
  }

  /// Attach, for admins.
  func attach(
    _ parameters: Broker1.Attach.Parameters, by session: Session
  ) throws(CallFailure) -> Broker1.Attach.Reply {
    guard session.isAdmin else { throw .service(.permissionDenied) }
    let pool = try attach(parameters)
    var metadata = session.metadata
    metadata["pool"] = "\(pool.name)"
    logger.info("attached", metadata: metadata)
    return Broker1.Attach.Reply(pool: pool)
  }

  /// Detach, for admins. The BAR has been given back when the reply is sent.
  func detach(
    _ parameters: Broker1.Detach.Parameters, by session: Session
  ) throws(CallFailure) -> EmptyReply {
    guard session.isAdmin else { throw .service(.permissionDenied) }
    let region = try region(named: parameters.pool)
    guard region.leaseCount == 0, region.holders.isEmpty else {
      throw .broker(
        .poolBusy(
          pool: region.name, reason: region.leaseCount > 0 ? .leases : .holders,
          uid: region.exclusiveUser, leases: region.leaseCount, holders: region.holders.count))
    }
    for lease in leases.entries(in: region.id) { leases.remove(lease.id) }
    regions.removeAll { $0 === region }
    region.memory.close()
    var metadata = session.metadata
    metadata["pool"] = "\(region.name)"
    logger.info("detach", metadata: metadata)
    // Who waited for this pool has to hear that it is gone.
    scheduleRetry()
    return EmptyReply()
  }
}

extension AttachedRegion {
  fileprivate func isSameBAR(as other: AttachedRegion) -> Bool {
    device == other.device && bar == other.bar
  }
}

extension Broker1.Attach.Parameters {
  fileprivate func checkedGranule() throws(CallFailure) -> GranuleSize {
    let size = granule ?? .page
    guard let granule = GranuleSize(size), size >= .page else { throw .invalid("granule") }
    return granule
  }

  /// Names stand in tables, logs and command lines.
  fileprivate func checkName() throws(CallFailure) {
    guard let name else { return }
    let isPlain = name.unicodeScalars.allSatisfy { ("!"..."~").contains($0) }
    guard isPlain, (1...64).contains(name.unicodeScalars.count) else { throw .invalid("name") }
  }
}
