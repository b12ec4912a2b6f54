public import GenPool
import Glibc
public import LinuxSystem
public import SystemPackage

/// Every error that genpoold answers a call with: those of `io.genpool.Broker1`, and those of
/// `org.varlink.service` that any varlink service has.
public enum BrokerError: ErrnoError, Equatable {
  /// The service has no such interface.
  case interfaceNotFound(interface: String)
  /// The interface has no such method.
  case methodNotFound(method: String)
  /// The interface has the method, but the service does not do it in the way asked for.
  case methodNotImplemented(method: String)
  /// A parameter is missing, of the wrong type, out of range or unknown.
  case invalidParameter(parameter: String)
  /// The caller may not.
  case permissionDenied
  /// The method can only be called with `more`.
  case expectedMore
  /// No pool of that name is attached.
  case noSuchPool(pool: String)
  /// No pool is attached at all, so none could be chosen.
  case noPool
  /// No lease of that identity, or it has ended.
  case noSuchLease(lease: LeaseID)
  /// The lease has another generation than the caller believes.
  case staleGeneration(lease: LeaseID, generation: Generation)
  /// More than all of the pool, so that waiting would not help.
  case poolTooSmall(pool: String, bytes: ByteCount, size: ByteCount)
  /// Less than `bytes` are free, and nothing is being scrubbed.
  /// `erasing`: what will be free when it has been zeroed.
  case poolFull(
    pool: String, bytes: ByteCount, available: ByteCount, erasing: ByteCount? = nil)
  /// `bytes` are free, but not in one piece of the fit and alignment asked for: `largestFree` is
  /// the longest from a multiple of `alignment`, if there is one. `offset` is where a fixed one had
  /// to be. Both are nil from brokers before there were these.
  case poolFragmented(
    pool: String, bytes: ByteCount, available: ByteCount, largestFree: ByteCount,
    alignment: ByteCount? = nil, offset: ByteCount? = nil)
  /// Somebody else has it: `uid` for a pool that one user at a time may use.
  case poolBusy(
    pool: String, reason: Broker1.BusyReason, uid: UID?, leases: Int, holders: Int)
  /// No more is leased of the pool, until an admin undoes that.
  case poolDraining(pool: String)
  /// The pool is for these users and groups, and for root and admins.
  case poolDenied(pool: String, users: [String], groups: [String])
  /// The pool's device stopped answering.
  case poolRevoked(pool: String, cause: String)
  /// A pool of that name is attached already.
  case poolExists(pool: String)
  /// The broker holds as many leases as it can.
  case leaseTableFull(capacity: Int)
  /// The caller's uid has as much as it may: `limit` and `used` count what `what` says, of `pool`
  /// if that is not nil.
  case quotaExceeded(what: Broker1.QuotaSubject, limit: Int, used: Int, pool: String? = nil)
  /// No such device, or no such BAR of it.
  case noSuchDevice(device: String, bar: Int?)
  /// The attach policy forbids it, by these rules.
  case deviceRefused(device: String, rules: [Broker1.Refusal])
  /// The system said no.
  case deviceError(operation: String, subject: String, errno: Int32, cause: String?)

  /// The errno that a C function would return for it.
  public var errno: Errno { Errno(rawValue: errorNumber) }

  private var errorNumber: Int32 {
    switch self {
    case .permissionDenied: EPERM
    case .invalidParameter: EINVAL
    case .interfaceNotFound, .methodNotFound, .methodNotImplemented, .expectedMore: EOPNOTSUPP
    case .noSuchPool, .noPool, .noSuchLease, .noSuchDevice: ENOENT
    case .staleGeneration: ESTALE
    case .poolTooSmall: EINVAL
    case .poolFull: ENOMEM
    case .poolFragmented, .leaseTableFull: ENOSPC
    case .quotaExceeded: EDQUOT
    case .poolBusy, .poolDraining: EBUSY
    case .poolDenied: EACCES
    case .poolRevoked: ENODEV
    case .poolExists: EEXIST
    case .deviceRefused: EPERM
    case .deviceError(_, _, let errno, _): errno
    }
  }
}

extension BrokerError: CustomStringConvertible {
  /// Operation, subject, cause, and what helps.
  public var description: String {
    switch self {
    case .interfaceNotFound(let interface): "genpoold has no interface \(interface)"
    case .methodNotFound(let method): "genpoold has no method \(method)"
    case .methodNotImplemented(let method): "genpoold does not implement \(method) in this way"
    case .invalidParameter(let parameter):
      "parameter \(parameter) is missing, wrong or unknown"
        + (Self.rules[parameter].map { ": it has to be \($0)" } ?? "")
    case .permissionDenied:
      "permission denied: only a connection to genpoold's admin socket (its socket's path and "
        + "\(BrokerSocket.adminSuffix)) may attach, detach and take leases of others; that socket is for "
        + "root, genpoold's own user and the group genpool-admin (or the one that its configuration names)"
    case .expectedMore: "the method answers more than once and has to be called so"
    case .noSuchPool(let pool):
      "no pool \(pool) is attached; `genpoolctl pool list` shows those that are"
    case .noPool: "no pool is attached; `genpoolctl pool attach` or `genpoold --attach` does it"
    case .noSuchLease(let lease): "no lease \(lease): it has ended, or never was"
    case .staleGeneration(let lease, let generation):
      "lease \(lease) has generation \(generation) now: the one meant has ended"
    case .poolTooSmall(let pool, let bytes, let size):
      "lease \(bytes) of pool \(pool): it has \(size) in all"
    case .poolFull(let pool, let bytes, let available, let erasing):
      "lease \(bytes) of pool \(pool): "
        + (available == .zero ? "nothing is free" : "only \(available) are free")
        + (erasing.map { ", and \($0) are being zeroed: it helps to wait (--wait)" } ?? "")
    case .poolFragmented(let pool, let bytes, let available, _, _, let offset?):
      "lease \(bytes) of pool \(pool): \(available) free, but not \(bytes) at offset "
        + "0x\(hexadecimal(offset.rawValue, digits: 1))"
    case .poolFragmented(let pool, let bytes, let available, let largest, let alignment?, nil):
      "lease \(bytes) of pool \(pool): \(available) free, but no \(bytes) at a multiple of \(alignment): "
        + "the longest piece from such a place is \(largest)"
    case .poolFragmented(let pool, let bytes, let available, let largest, nil, nil):
      "lease \(bytes) of pool \(pool): \(available) free, but at most \(largest) in one piece"
    case .poolBusy(let pool, .uidExclusive, let uid, _, 0):
      "pool \(pool) is in use by uid \(uid?.description ?? "?"): a process that was not lent it, a child "
        + "of one that was perhaps, still reaches its memory (fuser, lsof); one user at a time"
    case .poolBusy(let pool, .uidExclusive, let uid, let leases, let holders):
      "pool \(pool) is in use by uid \(uid?.description ?? "?") (\(Self.reach(leases, holders))), "
        + "and its descriptors reach the whole BAR: one user at a time"
    case .poolBusy(let pool, .unseen, let uid, _, _):
      "pool \(pool) is in use by uid \(uid?.description ?? "?"): every process that was lent it has died, but "
        + "it cannot be seen whether a child of one still maps it; for another user an admin detaches and "
        + "attaches it again: genpoolctl pool detach \(pool)"
    case .poolBusy(let pool, .queue, _, _, _):
      "pool \(pool) has others waiting for its memory who asked before; `lease acquire --wait` joins "
        + "them"
    case .poolBusy(let pool, .waiting, _, _, _):
      "pool \(pool) is not attached yet, its memory is in use: `genpoolctl pool show \(pool)` has "
        + "the cause; `lease acquire --wait` waits for it"
    case .poolBusy(let pool, .holders, _, _, 0):
      "pool \(pool) is in use: a process that was not lent it, a child of one that was perhaps, still "
        + "reaches its memory (fuser, lsof)"
    case .poolBusy(let pool, _, _, let leases, let holders):
      "pool \(pool) is in use: \(Self.reach(leases, holders))"
    case .poolDraining(let pool):
      "lease of pool \(pool): no more is leased of it, an admin is taking it out of use or the configuration "
        + "has it no longer (`genpoolctl pool show \(pool)`; undone by `genpoolctl pool drain \(pool) --undo`)"
    case .poolDenied(let pool, let users, let groups):
      "lease of pool \(pool): permission denied, it is for \(Self.members(users, groups)) "
        + "(\"access\" in genpoold's configuration, or of `pool attach`)"
    case .poolRevoked(let pool, let cause): "pool \(pool) is revoked: \(cause)"
    case .poolExists(let pool): "a pool \(pool) is attached already; give another name"
    case .leaseTableFull(let capacity): "lease table full: genpoold holds \(capacity) leases"
    case .quotaExceeded(.bytes, let limit, let used, let pool):
      "quota exceeded: this user has leases of \(Self.size(used))\(pool.map { " of pool \($0)" } ?? ""), and "
        + "may have \(Self.size(limit)) "
        + "(being zeroed counts)" + (used > 0 ? "; release some" : "")
    case .quotaExceeded(.allConnections, let limit, let used, _):
      "quota exceeded: all users together have \(used) connections, and may have \(limit); end some"
    case .quotaExceeded(let what, 0, _, let pool):
      "quota exceeded: this user may have no \(what.rawValue)\(pool.map { " of pool \($0)" } ?? "")"
    case .quotaExceeded(let what, let limit, let used, let pool):
      "quota exceeded: this user has \(used) \(what.rawValue)\(pool.map { " of pool \($0)" } ?? ""), and "
        + "may have \(limit); end some"
    case .noSuchDevice(let device, nil):
      "find \(device): no such device here; `genpoolctl device list` shows those that are"
    case .noSuchDevice(let device, let bar?):
      "find BAR \(bar) of \(device): it has no such BAR, or it is no memory"
    case .deviceRefused(let device, let rules):
      "attach \(device): refused\n"
        + rules.map { "  \($0.rule): \($0.cause)" + ($0.cure.map { " (\($0))" } ?? "") }
        .joined(separator: "\n")
    case .deviceError(let operation, let subject, let errno, let cause):
      SystemError(
        operation: operation, subject: subject, errno: Errno(rawValue: errno), cause: cause
      ).description
    }
  }

  /// The rules for parameters that a caller cannot be expected to know.
  private static let rules = [
    "access":
      "users and groups of genpoold's machine, by name or number, \(Broker1.Access.limit) of each at most",
    "alignment": "a power of two, and goes with the first fit only",
    "granule": "a power of two, at least a page",
    "label": "1 to \(Broker1.Lease.labelLimit) printable ASCII characters",
    "name": "1 to 64 printable ASCII characters without blanks",
    "offset": "a multiple of the pool's granule, with room for the size behind it",
    "source": "sysfs or vfio",
    "wait": "a year at most",
  ]

  private static func size(_ bytes: Int) -> ByteCount { ByteCount(UInt64(clamping: bytes)) }

  /// `root, admins, users alice and bob, group nvme`.
  private static func members(_ users: [String], _ groups: [String]) -> String {
    func list(_ names: [String], _ noun: String) -> String? {
      guard let last = names.last else { return nil }
      let others = names.dropLast().joined(separator: ", ")
      return names.count == 1 ? "\(noun) \(last)" : "\(noun)s \(others) and \(last)"
    }
    return
      ([list(users, "user"), list(groups, "group")].compactMap(\.self)
      + ["root and admins"]).joined(separator: ", ")
  }

  /// `1 lease, 2 processes that still reach it`.
  private static func reach(_ leases: Int, _ holders: Int) -> String {
    "\(leases) \(leases == 1 ? "lease" : "leases"), "
      + (holders == 1
        ? "1 process that still reaches it" : "\(holders) processes that still reach it")
  }
}

extension BrokerError {
  /// A parameter that is missing, wrong or unknown.
  package static func invalid(_ parameter: String) -> Self {
    .invalidParameter(parameter: parameter)
  }
}
