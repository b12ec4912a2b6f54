import BrokerProtocol
import CLinux
import Glibc
import LinuxSystem
import SystemPackage

/// Who is at the other end of a connection: the process that called connect(), as it was then.
struct Peer: ~Copyable {
  /// 0 when it lives in a pid namespace that this process cannot see.
  let pid: PID
  let user: UID
  /// Its effective group and the supplementary ones.
  let groups: [gid_t]
  /// Readable once the process has died, and never another process's.
  let pidfd: Descriptor

  /// Asks the kernel. Throws when the peer is gone already, or cannot be watched.
  init(of socket: CInt) throws(SystemError) {
    var pid: pid_t = 0
    var uid: uid_t = 0
    var gid: gid_t = 0
    try check(
      unsafe gl_peer_credentials(socket, &pid, &uid, &gid), "identify", "the peer of a connection")
    let pidfd = try Self.watch(socket, pid)
    self.pid = PID(rawValue: pid)
    user = UID(rawValue: uid)
    groups = [gid] + Self.supplementaryGroups(of: socket)
    self.pidfd = pidfd
  }

  /// Its user alone; nil when the kernel does not say.
  static func user(of socket: CInt) -> UID? {
    var pid: pid_t = 0
    var uid: uid_t = 0
    var gid: gid_t = 0
    guard unsafe gl_peer_credentials(socket, &pid, &uid, &gid) >= 0 else { return nil }
    return UID(rawValue: uid)
  }

  /// The pidfd alone. The rest are plain values, to be read before.
  consuming func takePidfd() -> Descriptor { pidfd }

  private static func watch(_ socket: CInt, _ pid: pid_t) throws(SystemError) -> Descriptor {
    let result = gl_peer_pidfd(socket)
    guard result == -ENOPROTOOPT else {
      return try Descriptor(owningResult: result, of: "watch", "process \(pid)")
    }
    // Before Linux 6.5. The peer may have died since it connected, and its number may be another's
    // by now. A peer that had died would have hung up, so if it has not, the number was its own
    // when the pidfd was opened. What remains is a dead peer whose forked child keeps the
    // connection: then a stranger's death is waited for, and memory is freed late, never early.
    let pidfd = try Descriptor(
      owningResult: pid > 0 ? gl_pidfd_open(pid) : -ESRCH, of: "watch", "process \(pid)")
    guard gl_is_hung_up(socket) == 0 else {
      throw SystemError(operation: "watch", subject: "process \(pid)", errno: .noSuchProcess)
    }
    return pidfd
  }

  private static func supplementaryGroups(of socket: CInt) -> [gid_t] {
    // NGROUPS_MAX is 65,536, but hardly anybody has more than the first room.
    for room in [64, 65_536] {
      var groups = [gid_t](repeating: 0, count: room)
      var count = CInt(room)
      if unsafe gl_peer_groups(socket, &groups, &count) == 0 {
        return Array(groups.prefix(Int(count)))
      }
    }
    return []
  }
}
