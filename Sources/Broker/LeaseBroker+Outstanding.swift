import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import Logging

// Memory that processes may reach without the kernel telling: it stays with its user.

extension LeaseBroker {
  /// Agrees to a region that is about to be attached, or refuses it because memory of it is outstanding and
  /// the kernel cannot tell whether a process still maps it.
  ///
  /// After an end in order, when every process that was lent memory had died, its user goes on alone.
  /// - Parameter isForced: an admin says that no process maps it any more.
  /// - Returns: the users who alone may lease of it until an admin detaches it; empty for all.
  func admit(
    _ region: AttachedRegion, isForced: Bool, _ audit: Logger.Metadata
  ) throws(CallFailure) -> Set<UID> {
    if region.witnessAtOpening == .reached {
      throw busy(region, "a process still maps memory of its BAR")
    }
    let relevant = try relevantRecords(for: region, isForced: isForced, audit)
    if let held = relevant.first(where: { $0.record.state == .held })?.record {
      throw busy(
        region,
        "an earlier run lent memory of \(held.label) to uid \(held.users.list) and did not end in order, and "
          + "\(region.blindness); \(Self.force)")
    }
    let users = Set(relevant.flatMap(\.record.users)).sorted()
    guard region.isolation == .uidExclusive, !users.isEmpty else { return [] }
    guard users.count == 1 else {
      throw busy(
        region,
        "memory of it was lent to several users (uid \(users.list)), and \(region.blindness); \(Self.force)"
      )
    }
    // One record in the place of those there are; all of them, if this is where the run ends.
    var record = outstanding.blank(region.label, region.reach, region.source)
    record.users = users
    try save(record, of: region)
    for (id, _) in relevant {
      try callFailure { () throws(SystemError) in try outstanding.remove(id) }
    }
    region.inherit(Set(users.map(UID.init(rawValue:))))
    return region.inheritedUsers
  }

  /// The records of memory that `region` reaches. Removes those that the kernel's answer has made void, and
  /// those that an admin's force does.
  private func relevantRecords(
    for region: AttachedRegion, isForced: Bool, _ audit: Logger.Metadata
  ) throws(CallFailure) -> [(id: OutstandingRecords.ID, record: OutstandingMemory)] {
    var relevant: [(id: OutstandingRecords.ID, record: OutstandingMemory)] = []
    for (id, record) in try callFailure({ () throws(SystemError) in try outstanding.all() }) {
      guard let record else {
        // It may be of any memory. What the kernel has answered for does not need it.
        guard region.witnessAtOpening != .free, !isForced else { continue }
        throw busy(
          region,
          "\(outstanding.path(of: id)), a record of what an earlier run lent, cannot be read: remove it when "
            + "no process maps any of that (fuser, lsof)")
      }
      guard record.reach.overlaps(region.reach) else { continue }
      let isVoid =
        region.witnessAtOpening == .free && record.isRefuted(by: region.reach, region.source)
      guard isVoid || isForced else {
        relevant.append((id, record))
        continue
      }
      if !isVoid {
        var metadata = audit
        metadata["memory"] = "\(printable(region.label))"
        metadata["lent"] = "\(printable(record.label))"
        metadata["lentTo"] = "\(record.users.list)"
        logger.notice("forced", metadata: metadata)
      }
      try callFailure { () throws(SystemError) in try outstanding.remove(id) }
    }
    return relevant
  }

  private func busy(_ region: AttachedRegion, _ cause: String) -> CallFailure {
    .broker(.deviceError(operation: "attach", subject: region.label, errno: EBUSY, cause: cause))
  }

  /// The result of `body`, whose errors become those of a call.
  private func callFailure<Result>(
    _ body: () throws(SystemError) -> Result
  ) throws(CallFailure) -> Result {
    do throws(SystemError) {
      return try body()
    } catch {
      throw .system(error)
    }
  }

  private static let force =
    "when no process maps it any more (fuser, lsof): genpoolctl pool attach … --force"

  /// Puts on record that memory is about to be lent to `user`, where the kernel cannot be asked at any time.
  /// A lease that is not on record is not given.
  func noteOutstanding(_ region: AttachedRegion, _ user: UID) throws(CallFailure) {
    guard region.witness != .fileLease else { return }
    var record =
      region.outstanding?.record
      ?? outstanding.blank(region.label, region.reach, region.source)
    guard record.state != .held || !record.users.contains(user.rawValue) else { return }
    record.state = .held
    record.users = Set(record.users).union([user.rawValue]).sorted()
    try save(record, of: region)
  }

  /// Closes a region's record as the region is given up: removes it when nothing is outstanding, or an admin
  /// `forgets` it.
  func closeRecord(of region: AttachedRegion, forgets: Bool = false) {
    guard let (id, record) = region.outstanding else { return }
    do throws(SystemError) {
      switch region.answer {
      case .free: try outstanding.remove(id)
      case .unknown where forgets: try outstanding.remove(id)
      case .unknown:
        var record = record
        record.state = .ended
        try outstanding.save(record, as: id)
      case .reached: return
      }
      region.outstanding = nil
    } catch {
      // The record that is left claims too much, never too little.
      logger.error("record of what was lent", metadata: ["cause": "\(error)"])
    }
  }

  private func save(
    _ record: OutstandingMemory, of region: AttachedRegion
  ) throws(CallFailure) {
    let id = region.outstanding?.id ?? OutstandingRecords.ID()
    try callFailure { () throws(SystemError) in try outstanding.save(record, as: id) }
    region.outstanding = (id, record)
  }
}

extension AttachedRegion {
  /// The clause that names what the kernel cannot tell, and the reason.
  var blindness: String {
    switch witness {
    case .fileLease: "the kernel did not tell whether a process still maps it"
    case .reopening:
      "it cannot be seen whether a process still maps it: VFIO tells only who opens the device anew, once "
        + "the pool is detached"
    case .none:
      "it cannot be seen whether a process still maps it: the kernel has no file leases for it"
        + (source == .sysfs ? " (sysfs since Linux 7.0)" : "")
    }
  }
}

extension [UInt32] {
  /// `1001, 1002`
  fileprivate var list: String { map(String.init).joined(separator: ", ") }
}
