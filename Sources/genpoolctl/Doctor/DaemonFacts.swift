import BrokerProtocol
import GenPoolClient
import Glibc
import LinuxSystem
import PCIDevices
import SystemPackage

/// The daemon, its socket, and the groups that may connect.
struct DaemonFacts: Sendable {
  /// The path of the clients' socket.
  let socket: String
  /// The socket's owner and group, and whether the caller may connect; nil when there is none.
  let file: Fact<File?>
  /// The gids of the groups `genpool` and `genpool-admin`, nil for one that is not there.
  let group: Fact<UInt32?>, adminGroup: Fact<UInt32?>
  /// The daemon's answer; nil when none runs.
  let answer: Fact<Answer?>

  /// Whether a process listens at the socket, as far as this network namespace's list tells: a file
  /// stays when its daemon has died.
  let isListened: Fact<Bool>

  /// A socket's file.
  struct File: Hashable, Sendable {
    let uid: UInt32
    let gid: UInt32
    /// Whether this process may connect.
    let isOpen: Bool
  }

  /// The answer of a daemon that runs.
  struct Answer: Hashable, Sendable {
    let version: String
    /// The names of the pools that lease memory now.
    let pools: [String]
    /// The number of pools that do not: waiting, draining, revoked, or for other users.
    let idlePools: Int

    init(version: String, pools: [String], idlePools: Int) {
      self.version = version
      self.pools = pools
      self.idlePools = idlePools
    }

    /// The answer of a daemon with `pools`, of which some lease to the caller.
    init(version: String, pools: [Broker1.Pool]) {
      let active = pools.filter { $0.state == .active && $0.mayLease != false }
      self.init(version: version, pools: active.map(\.name), idlePools: pools.count - active.count)
    }
  }

  /// The names of the groups that `make install` makes.
  static let groupName = "genpool", adminGroupName = "genpool-admin"

  /// Reads the facts of `root`.
  /// - Parameters:
  ///   - socket: where the daemon is expected.
  ///   - ask: asks the daemon at a socket. It is called only when a process `genpoold` shows in
  ///     `/proc`: connecting to the socket of a daemon that does not run makes systemd start it,
  ///     and a daemon that starts erases memory.
  init(
    of root: SystemRoot, at socket: BrokerSocket,
    ask: (BrokerSocket) -> Fact<Answer?> = Self.ask
  ) {
    self.socket = socket.path
    file = Self.file(root[socket.path].path, socket)
    (group, adminGroup) = Self.groups(of: root)
    isListened = Self.isListened(socket.path, in: root)
    switch Self.runs(in: root, as: file.value??.uid) {
    case .known(true): answer = ask(socket)
    case .known(false): answer = .known(nil)
    case .unknown(let cause): answer = .unknown(cause)
    }
  }

  /// Asks the daemon at `socket`, for at most two seconds.
  static func ask(_ socket: BrokerSocket) -> Fact<Answer?> {
    do throws(ClientError) {
      let connection = try Connection(to: socket, timeout: .seconds(2))
      let version = try connection.hello(as: "genpoolctl doctor").version
      let pools = try connection.pools()
      return .known(Answer(version: version, pools: pools))
    } catch {
      if error.isUnreachable { return .known(nil) }
      return .unknown(error.description)
    }
  }

  private static func file(_ path: String, _ socket: BrokerSocket) -> Fact<File?> {
    // An abstract name is no file.
    if socket.path.hasPrefix("@") { return .unknown("\(socket.path) is an abstract name") }
    var status = stat()
    guard unsafe stat(path, &status) == 0 else {
      let number = errno
      return [ENOENT, ENOTDIR].contains(number)
        ? .known(nil)
        : .unknown("examine \(socket.path): \(String(describing: Errno(rawValue: number)))")
    }
    let isOpen = unsafe faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0
    return .known(File(uid: status.st_uid, gid: status.st_gid, isOpen: isOpen))
  }

  /// proc_net_unix(5): the flag 0x10000 is that of a socket that listens (`__SO_ACCEPTCON`).
  /// The kernel shows the path as the process bound it, which may contain links or be relative.
  private static func isListened(_ path: String, in root: SystemRoot) -> Fact<Bool> {
    let text: String
    switch root.text("/proc/net/unix", limit: 16 << 20) {
    case .known(let known): text = known
    case .unknown(let cause): return .unknown(cause)
    }
    let bound = text.split(separator: "\n").dropFirst().compactMap { line -> String? in
      let fields = line.split(separator: " ", maxSplits: 7)
      guard fields.count == 8, let flags = UInt32(fields[3], radix: 16), flags & 0x10000 != 0
      else { return nil }
      return String(fields[7])
    }
    if bound.contains(path) { return .known(true) }
    guard !path.hasPrefix("@") else { return .known(false) }
    let name = path.split(separator: "/").last
    let alike = bound.filter { !$0.hasPrefix("@") && $0.split(separator: "/").last == name }
    if let own = fileIdentity(root[path].path),
      alike.contains(where: { $0.hasPrefix("/") && fileIdentity(root[$0].path) == own })
    {
      return .known(true)
    }
    if let relative = alike.first(where: { !$0.hasPrefix("/") }) {
      return .unknown("a process listens at \(relative), a path from its own directory")
    }
    return .known(false)
  }

  /// The device and inode of the file that `path` leads to; nil where there is none.
  private static func fileIdentity(_ path: String) -> [UInt64]? {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else { return nil }
    return [UInt64(status.st_dev), UInt64(status.st_ino)]
  }

  private static func groups(of root: SystemRoot) -> (Fact<UInt32?>, Fact<UInt32?>) {
    let text = root.text("/etc/group")
    func gid(_ name: String) -> Fact<UInt32?> {
      // Groups come from elsewhere, too: nsswitch.conf(5).
      if root.isThisMachine { return .known(Accounts.group(name)) }
      return text.map { text in
        for line in text.split(separator: "\n") {
          let fields = line.split(separator: ":", omittingEmptySubsequences: false)
          if fields.count >= 3, fields[0] == name { return UInt32(fields[2]) }
        }
        return nil
      }
    }
    return (gid(groupName), gid(adminGroupName))
  }

  /// Whether a process `genpoold` of a user shows in `/proc`: another user's has another socket.
  /// Root's listens for any.
  /// - Parameter user: the socket's owner; nil for all.
  static func runs(in root: SystemRoot, as user: UInt32?) -> Fact<Bool> {
    do throws(DeviceError) {
      for name in try root["/proc"].entries() where name.first?.isNumber == true {
        guard let text = try? root["/proc/\(name)/comm"].bytes(limit: 64),
          text.starts(with: "genpoold\n".utf8)
        else { continue }
        var status = stat()
        guard unsafe stat(root["/proc/\(name)"].path, &status) == 0 else { continue }
        if user == nil || status.st_uid == user || status.st_uid == 0 { return .known(true) }
      }
      return .known(false)
    } catch {
      return .unknown(error.description)
    }
  }
}
