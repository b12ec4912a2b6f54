import CLinux
package import SystemPackage

/// The process that called connect() for the other end of a Unix socket, as it was then.
/// `SO_PEERCRED`, unix(7).
package struct PeerCredentials: Sendable {
  /// The process's number; 0 in a pid namespace that this process cannot see.
  package let pid: Int32
  /// The effective user.
  package let user: UInt32
  /// The effective group.
  package let group: UInt32

  /// Asks the kernel.
  /// - Throws: ENOTSOCK and what else getsockopt(2) gives.
  package init(of socket: borrowing StreamSocket) throws(Errno) {
    var pid: Int32 = 0
    var user: UInt32 = 0
    var group: UInt32 = 0
    _ = try (unsafe gl_peer_credentials(socket.rawValue, &pid, &user, &group)).orErrno()
    self.pid = pid
    self.user = user
    self.group = group
  }

  /// Whether the user is no user that this process can tell from others: in a user namespace that
  /// does not map all users the kernel reports every other one as the same overflow user.
  package var isOverflowUser: Bool { user == Self.overflowUser }

  /// The overflow user, 65534 as a rule; nil where every user is mapped to itself, and 65534 is a
  /// user as any other. user_namespaces(7).
  private static let overflowUser: UInt32? = {
    let map = text(of: "uid_map", in: "/proc/self").split(whereSeparator: \.isWhitespace)
    if map == ["0", "0", "4294967295"] { return nil }
    return UInt32(text(of: "overflowuid", in: "/proc/sys/kernel").filter(\.isNumber)) ?? 65_534
  }()

  /// The text of a file of /proc; empty when it cannot be read.
  private static func text(of name: String, in directory: String) -> String {
    let bytes = try? Directory(directory).attribute(name, limit: 4096)
    return String(decoding: bytes ?? [], as: UTF8.self)
  }

  /// The supplementary groups of the process; empty where the kernel does not tell.
  /// `SO_PEERGROUPS`.
  package static func supplementaryGroups(of socket: borrowing StreamSocket) -> [UInt32] {
    // NGROUPS_MAX is 65,536, but few processes have more than the first room.
    for room in [64, 65_536] {
      var groups = [UInt32](repeating: 0, count: room)
      var count = CInt(room)
      if unsafe gl_peer_groups(socket.rawValue, &groups, &count) == 0 {
        return Array(groups.prefix(Int(count)))
      }
    }
    return []
  }
}
