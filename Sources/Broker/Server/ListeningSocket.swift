import Glibc
public import LinuxSystem
import SystemPackage

/// A socket that a broker listens on, for clients or for admins. If the broker made it, its end
/// removes it from the file system, and closes the connections that still wait there.
///
/// Invariant: a socket that the broker made never lets in more processes than its audience.
public struct ListeningSocket: ~Copyable {
  /// The processes that a socket is for.
  public enum Audience: Sendable {
    /// All that may lease: the socket's owner and group.
    case clients
    /// Those that may attach and detach: the socket's owner, and its group if it was given one.
    case admins
  }

  let audience: Audience
  /// Whether another process made it, which keeps it when the broker ends.
  private let isInherited: Bool
  /// The file to be removed; nil for a socket that is inherited, or that is in no directory.
  private let file: File?
  /// The group that it was given; nil for none.
  private var group: UInt32?
  private let socket: SocketListener

  /// A file that the broker made. Its identity keeps another broker's socket, that has taken its
  /// place, from being removed.
  private struct File {
    let path: String
    let identity: Identity?

    struct Identity: Equatable {
      let device: UInt
      let number: UInt
    }

    init(path: String) {
      self.path = path
      identity = Self.identity(at: path)
    }

    /// Whether the file at the path is still the one that was made.
    var isThere: Bool { identity != nil && Self.identity(at: path) == identity }

    private static func identity(at path: String) -> Identity? {
      var status = stat()
      guard unsafe lstat(path, &status) == 0 else { return nil }
      return Identity(device: UInt(status.st_dev), number: UInt(status.st_ino))
    }
  }

  /// A socket that is listening already: socket activation. Made non-blocking, with a queue as
  /// short as that of our own.
  public init(
    inherited socket: consuming Descriptor, for audience: Audience = .clients
  ) throws(SystemError) {
    do throws(Errno) {
      self.socket = try SocketListener(inherited: socket)
    } catch {
      throw SystemError(operation: "use", subject: "the inherited socket", errno: error)
    }
    self.audience = audience
    isInherited = true
    file = nil
    group = nil
  }

  /// Makes a socket at `path` that listens from now on; connections wait until a broker accepts
  /// them. The directory is made if it is missing. A socket at which no process listens is removed;
  /// one at which a process does is an error, EADDRINUSE. A leading `@` is the abstract namespace,
  /// open to every process.
  /// - Parameter group: the group that may connect beside the owner; only root can give it one. Nil
  ///   is the process's own group for clients, and none for admins.
  public init(
    path: String, for audience: Audience = .clients, group: UInt32? = nil
  ) throws(SystemError) {
    let isAbstract = path.hasPrefix("@")
    let group = Self.grantable(group)
    let lock = isAbstract ? nil : try Self.lockPlace(of: path)
    try Self.makeWay(at: path)
    socket = try attempt(
      "listen on", path,
      try SocketListener(path: path, mode: Self.mode(for: audience, group: group), group: group))
    self.audience = audience
    self.group = group
    isInherited = false
    file = isAbstract ? nil : File(path: path)
    _ = consume lock
  }

  deinit {
    if let file, file.isThere { _ = unsafe unlink(file.path) }
    // Inherited connections wait for the next broker.
    if !isInherited { closeWaitingConnections() }
  }

  var descriptor: CInt { socket.rawValue }

  /// The path that it is bound to; nil for none.
  public var path: String? { socket.path }

  /// Accepts the next connection; nil when none waits.
  func accept() throws(Errno) -> Descriptor? { try socket.accept() }

  /// Lets another group connect to a socket for admins from now on. No process of the former group
  /// can connect before the change is complete. Does nothing for a socket of another process.
  mutating func admit(_ group: UInt32?) throws(SystemError) {
    let group = Self.grantable(group)
    guard audience == .admins, group != self.group, let file, file.isThere else { return }
    let isChanged =
      unsafe chmod(file.path, Self.mode(for: audience, group: nil)) == 0
      && lchown(file.path, .max, group ?? getegid()) == 0
      && chmod(file.path, Self.mode(for: audience, group: group)) == 0
    guard isChanged else {
      throw SystemError(
        operation: "let a group connect to", subject: file.path, errno: Errno(rawValue: errno))
    }
    self.group = group
  }

  /// Closes connections that no broker has accepted: their processes read the end, and no reset.
  private borrowing func closeWaitingConnections() {
    socket.refuseConnections()
    while true {
      do throws(Errno) {
        guard let connection = try accept() else { return }
        StreamSocket(connection).takeFarewell()
      } catch {
        return
      }
    }
  }

  /// A group that this process can give to a file, which takes root; else nil.
  private static func grantable(_ group: UInt32?) -> UInt32? { geteuid() == 0 ? group : nil }

  /// The permissions of a socket for `audience`.
  private static func mode(for audience: Audience, group: UInt32?) -> UInt32 {
    audience == .admins && group == nil ? 0o600 : 0o660
  }

  /// Keeps other brokers from looking at, removing and making the same socket at the same moment.
  /// The lock is on a file of mode 0600 beside the socket, which no client can open.
  private static func lockPlace(of path: String) throws(SystemError) -> Descriptor {
    let directory = String(FilePath(path).removingLastComponent().string)
    let name = directory.isEmpty ? "." : directory
    guard unsafe mkdir(name, 0o755) == 0 || errno == EEXIST else {
      throw SystemError(
        operation: "make", subject: name, errno: Errno(rawValue: errno),
        cause: "for the socket; --socket or GENPOOL_SOCKET names another place")
    }
    let lock = FilePath(path).lastComponent.map { "\($0).lock" } ?? ".lock"
    let descriptor = try attempt(
      "open", "\(name)/\(lock)", try Descriptor.openLock(lock, in: name, isTrusted: false))
    // Others hold it for as long as this takes; two seconds are for those who are stopped
    // meanwhile.
    for _ in 0..<40 {
      do throws(Errno) {
        try descriptor.lockFile()
        return descriptor
      } catch .wouldBlock {
        usleep(50_000)
      } catch {
        throw SystemError(operation: "lock", subject: "\(name)/\(lock)", errno: error)
      }
    }
    throw SystemError(
      operation: "lock", subject: "\(name)/\(lock)", errno: .wouldBlock,
      cause: "another broker is starting there")
  }

  /// Removes a socket at `path` at which no process listens. Throws EADDRINUSE where one does.
  private static func makeWay(at path: String) throws(SystemError) {
    do throws(Errno) {
      guard try !SocketListener.isServed(path) else { throw .addressInUse }
      // An abstract socket goes with its process.
      guard !path.hasPrefix("@") else { return }
      // A file that is no socket is refused like this too.
      guard isSocket(path) else { throw .fileExists }
      _ = unsafe unlink(path)
    } catch .noSuchFileOrDirectory {
      return
    } catch .addressInUse {
      throw SystemError(
        operation: "listen on", subject: path, errno: .addressInUse,
        cause: "another broker answers there; stop it, or give another --socket")
    } catch .fileExists {
      throw SystemError(
        operation: "listen on", subject: path, errno: .fileExists, cause: "it is no socket")
    } catch {
      throw SystemError(
        operation: "look for a broker at", subject: path, errno: error,
        cause: error == .fileNameTooLong ? "a socket's path has at most 107 bytes" : nil)
    }
  }

  private static func isSocket(_ path: String) -> Bool {
    var status = stat()
    return unsafe lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
  }
}
