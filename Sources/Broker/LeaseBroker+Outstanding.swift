import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
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
    func busy(_ cause: String) -> CallFailure {
      .broker(
        .deviceError(operation: "attach", subject: region.label, errno: EBUSY, cause: cause))
    }
    if region.witnessAtOpening == .reached {
      throw busy("a process still maps memory of its BAR")
    }
    var relevant: [(id: OutstandingRecords.ID, record: OutstandingMemory?)] = []
    do throws(SystemError) {
      for (id, record) in try outstanding.all() {
        guard let record else {
          relevant.append((id, nil))
          continue
        }
        guard record.reach.overlaps(region.reach) else { continue }
        if region.witnessAtOpening == .free, record.isRefuted(by: region.reach, region.source) {
          try outstanding.remove(id)
        } else {
          relevant.append((id, record))
        }
      }
      // What cannot be read is of no concern to memory that the kernel has answered for.
      if region.witnessAtOpening == .free { relevant.removeAll { $0.record == nil } }
      if isForced {
        for (id, record) in relevant {
          logger.notice(
            "forced",
            metadata: audit.merging([
              "memory": "\(printable(region.label))",
              "outstanding":
                "\(printable(record.map { "\($0.label), lent to uid \($0.userList)" } ?? outstanding.place(of: id)))",
            ]) { $1 })
          try outstanding.remove(id)
        }
        relevant = []
      }
    } catch {
      throw .system(error)
    }
    if let (id, _) = relevant.first(where: { $0.record == nil }) {
      throw busy(
        "\(outstanding.place(of: id)) cannot be read, which says what an earlier run lent; "
          + Self.force)
    }
    let records = relevant.compactMap(\.record)
    let users = Set(records.flatMap(\.users))
    if let held = records.first(where: { $0.state == .held }) {
      throw busy(
        "an earlier run lent memory of \(held.label) to uid \(held.userList) and did not end in order, and "
          + "\(region.blindness); \(Self.force)")
    }
    guard region.isolation != .uidExclusive || users.count < 2 else {
      throw busy(
        "memory of it was lent to several users (uid \(users.list)), and \(region.blindness); "
          + Self.force)
    }
    guard region.isolation == .uidExclusive, !users.isEmpty else { return [] }
    let inherited = Set(users.map(UID.init(rawValue:)))
    do throws(SystemError) {
      var record = outstanding.blank(region.label, region.reach, region.source)
      record.users = users.sorted()
      try save(record, of: region)
      for (id, _) in relevant { try outstanding.remove(id) }
    } catch {
      throw .system(error)
    }
    region.inherit(inherited)
    return inherited
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
    do throws(SystemError) {
      try save(record, of: region)
    } catch {
      throw .system(error)
    }
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
        try save(record, of: region)
      case .reached: return
      }
      region.outstanding = nil
    } catch {
      // It says more than is so, never less.
      logger.error("record of what was lent", metadata: ["cause": "\(error)"])
    }
  }

  private func save(
    _ record: OutstandingMemory, of region: AttachedRegion
  ) throws(SystemError) {
    let id = region.outstanding?.id ?? OutstandingRecords.ID()
    try outstanding.save(record, as: id)
    region.outstanding = (id, record)
  }
}

extension AttachedRegion {
  /// What the kernel cannot tell, and why.
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

extension OutstandingMemory {
  /// The users, for people.
  fileprivate var userList: String { Set(users).list }
}

extension Set<UInt32> {
  fileprivate var list: String { sorted().map(String.init).joined(separator: ", ") }
}
