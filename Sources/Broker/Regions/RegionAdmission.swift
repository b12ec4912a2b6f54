import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import Logging

/// Decides whether memory may become a pool: not while another pool's descriptors reach it, and not
/// while a process that it was lent to may still map it without the kernel telling.
struct RegionAdmission {
  private let outstanding: OutstandingRecords
  private let logger: Logger

  init(outstanding: OutstandingRecords, logger: Logger) {
    self.outstanding = outstanding
    self.logger = logger
  }

  /// Agrees to a region that is about to be attached, or refuses it because memory of it is
  /// outstanding and the kernel cannot tell whether a process still maps it.
  ///
  /// After an end in order, when every process that was lent memory had died, its user goes on
  /// alone.
  /// - Parameters:
  ///   - regions: those that are attached.
  ///   - isForced: an admin vouches that no process maps it any more.
  /// - Returns: the user that alone may lease of it until an admin detaches it; nil for all.
  func admit(
    _ region: AttachedRegion, besides regions: [AttachedRegion], _ specification: String,
    isForced: Bool, _ audit: Logger.Metadata
  ) throws(BrokerError) -> UID? {
    try refuseConflicts(of: region, with: regions)
    if region.witnessAtOpening == .reached {
      throw busy(region, "a process still maps memory of its BAR")
    }
    let relevant = try relevantRecords(for: region, isForced: isForced, audit)
    let force =
      "when no process maps it any more (fuser, lsof): genpoolctl pool attach "
      + "\(specification) --force"
    if let held = relevant.first(where: { $0.record.state == .held })?.record {
      throw busy(
        region,
        "an earlier run lent memory of \(held.label) to uid \(held.users.list) and did not end in order, and "
          + "\(region.blindness); \(force)")
    }
    let users = Set(relevant.flatMap(\.record.users)).sorted()
    guard region.isolation != .uidExclusive || users.count < 2 else {
      throw busy(
        region,
        "memory of it was lent to several users (uid \(users.list)), and \(region.blindness); \(force)"
      )
    }
    if !relevant.isEmpty { region.inherit(relevant) }
    return region.isolation == .uidExclusive ? users.first.map(UID.init(rawValue:)) : nil
  }

  /// - Throws: PoolExists; DeviceError when a process that may reach one of `regions` would reach
  ///   this.
  private func refuseConflicts(
    of region: AttachedRegion, with regions: [AttachedRegion]
  ) throws(BrokerError) {
    guard !regions.contains(where: { $0.name == region.name }) else {
      throw .poolExists(pool: region.name)
    }
    // The provider locks BARs against other processes. That descriptors of two pools of ours would
    // reach one BAR, and two users by them, is ours to refuse.
    if let other = regions.first(where: { $0.isInReach(of: region) }) {
      throw .deviceError(
        operation: "attach", subject: region.label, errno: EADDRINUSE,
        cause:
          "pool \(other.name) has a part of this \(other.bar == region.bar ? "BAR" : "device"), "
          + "and a descriptor reaches all of it")
    }
    // A process that holds memory of a device that was removed would reach this one by it. Through
    // VFIO the kernel's answer at the opening rules that out.
    if let old = regions.first(where: {
      $0.isRevoked && $0.overlaps(region)
        && !($0.source == .vfio && region.source == .vfio && region.witnessAtOpening == .free)
    }) {
      throw .deviceError(
        operation: "attach", subject: region.label, errno: EBUSY,
        cause: "processes still hold pool \(old.name), which is revoked, at these addresses")
    }
  }

  /// The records of memory that `region` reaches. Removes those that the kernel's answer has made
  /// void, and those that an admin's force does.
  private func relevantRecords(
    for region: AttachedRegion, isForced: Bool, _ audit: Logger.Metadata
  ) throws(BrokerError) -> [(id: OutstandingRecords.ID, record: OutstandingMemory)] {
    var relevant: [(id: OutstandingRecords.ID, record: OutstandingMemory)] = []
    for (id, record) in try callFailure({ () throws(SystemError) in try outstanding.all() }) {
      guard let record else {
        // It may be of any memory, opened by any source: the kernel's answer for this one is not
        // for it.
        guard !isForced else { continue }
        throw busy(
          region,
          "\(outstanding.path(of: id)), a record of what an earlier run lent, cannot be read: remove it when "
            + "no process maps any of that (fuser, lsof)")
      }
      guard record.reach.overlaps(region.reach) else { continue }
      let isVoid = region.releasedSources.contains { record.isRefuted(by: region.reach, $0) }
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

  private func busy(_ region: AttachedRegion, _ cause: String) -> BrokerError {
    .deviceError(operation: "attach", subject: region.label, errno: EBUSY, cause: cause)
  }

  /// The result of `body`, whose errors become those of a call.
  private func callFailure<Result>(
    _ body: () throws(SystemError) -> Result
  ) throws(BrokerError) -> Result {
    do throws(SystemError) {
      return try body()
    } catch {
      throw .system(error)
    }
  }
}

extension AttachedRegion {
  /// The clause that names what the kernel cannot tell, and the reason.
  var blindness: String {
    switch witness {
    case .fileLease: "the kernel did not tell whether a process still maps it"
    case .reopening:
      "it cannot be seen whether a process still maps it: VFIO tells only who opens the device anew"
    case .perLease:
      "it cannot be seen whether a process still maps what an earlier run lent: the kernel has no file "
        + "leases for it (sysfs since Linux 7.0)"
    case .none:
      "it cannot be seen whether a process still maps it: its file system is none that tells"
    }
  }
}

extension AttachedRegion {
  /// Whether what reaches one may reach the other, by its device or by its physical addresses.
  fileprivate func overlaps(_ other: AttachedRegion) -> Bool {
    if reach.overlaps(other.reach) { return true }
    guard let mine = physical.flatMap({ AddressRange(start: $0, size: size) }),
      let others = other.physical.flatMap({ AddressRange(start: $0, size: other.size) })
    else { return false }
    return mine.overlaps(others)
  }

  /// Whether a descriptor of either reaches the other's memory. Those that were revoked and closed
  /// are the kernel's matter.
  fileprivate func isInReach(of other: AttachedRegion) -> Bool {
    guard device == other.device, !isAwaitedByKernel else { return false }
    return bar == other.bar || source == .vfio || other.source == .vfio
  }
}

extension [UInt32] {
  /// `1001, 1002`
  fileprivate var list: String { map(String.init).joined(separator: ", ") }
}
