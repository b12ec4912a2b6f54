import Glibc
import LinuxSystem
import SystemPackage

/// The listening socket that a service manager made before it started the daemon: sd_listen_fds(3).
enum SocketActivation {
  /// The first descriptor that is passed. SD_LISTEN_FDS_START.
  private static let first: CInt = 3

  /// The socket, nil if none was passed to this process. Takes the variables out of the
  /// environment, so that no child believes it was meant.
  static func socket(_ environment: [String: String]) throws(SystemError) -> Descriptor? {
    guard environment["LISTEN_PID"] == String(getpid()),
      let count = environment["LISTEN_FDS"].flatMap({ Int($0) }), count > 0
    else { return nil }
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { _ = unsafe unsetenv(name) }
    func refusal(_ errno: Errno, _ cause: String) -> SystemError {
      SystemError(
        operation: "use", subject: "the socket from LISTEN_FDS", errno: errno, cause: cause)
    }
    guard count == 1 else { throw refusal(.invalidArgument, "one is wanted, not \(count)") }
    guard isListeningStream(first) else {
      throw refusal(.notSocket, "it is no Unix stream socket that listens")
    }
    _ = fcntl(first, F_SETFD, FD_CLOEXEC)
    return Descriptor(owning: first)
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
