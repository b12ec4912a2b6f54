import Glibc
import LinuxSystem
import SystemPackage

/// The listening sockets that a service manager made before it started the daemon:
/// sd_listen_fds(3).
struct SocketActivation: ~Copyable {
  /// The clients' socket.
  var clients: Descriptor
  /// The admins' socket: the one that is named ``adminName``.
  var admins: Descriptor?

  /// The `FileDescriptorName=` of the admins' socket. Every other name is the clients'.
  private static let adminName = "admin"
  /// The first descriptor that is passed. SD_LISTEN_FDS_START.
  private static let first: CInt = 3

  /// The sockets, nil if none was passed to this process. Takes the variables out of the
  /// environment, so that no child believes it was meant.
  init?(_ environment: [String: String]) throws(SystemError) {
    guard environment["LISTEN_PID"] == String(getpid()),
      let count = environment["LISTEN_FDS"].flatMap({ Int($0) }), count > 0
    else { return nil }
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { _ = unsafe unsetenv(name) }
    guard count <= 2 else {
      throw Self.refusal(
        .invalidArgument, "\(count) were passed; the clients' and the admins' are wanted")
    }
    let names = (environment["LISTEN_FDNAMES"] ?? "").split(
      separator: ":", omittingEmptySubsequences: false)
    let passed = (0..<count).map { index in
      (Self.first + CInt(index), isAdmin: index < names.count && names[index] == Self.adminName)
    }
    for (descriptor, _) in passed {
      guard Self.isListeningStream(descriptor) else {
        throw Self.refusal(.notSocket, "it is no Unix stream socket that listens")
      }
      _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    }
    let clients = passed.filter { !$0.isAdmin }.map(\.0)
    guard clients.count == 1 else {
      throw Self.refusal(
        .invalidArgument,
        clients.isEmpty
          ? "the clients' socket is missing" : "one of the two has to be named \(Self.adminName)")
    }
    self.clients = Descriptor(owning: clients[0])
    admins = passed.first(where: \.isAdmin).map { Descriptor(owning: $0.0) }
  }

  private static func refusal(_ errno: Errno, _ cause: String) -> SystemError {
    SystemError(
      operation: "use", subject: "the sockets from LISTEN_FDS", errno: errno, cause: cause)
  }

  private static func isListeningStream(_ descriptor: CInt) -> Bool {
    option(SO_ACCEPTCONN, of: descriptor) == 1
      && option(SO_DOMAIN, of: descriptor) == AF_UNIX
      && option(SO_TYPE, of: descriptor) == CInt(SOCK_STREAM.rawValue)
  }

  private static func option(_ name: CInt, of descriptor: CInt) -> CInt? {
    var value: CInt = 0
    var length = socklen_t(MemoryLayout<CInt>.size)
    guard unsafe getsockopt(descriptor, SOL_SOCKET, name, &value, &length) == 0 else { return nil }
    return value
  }
}
