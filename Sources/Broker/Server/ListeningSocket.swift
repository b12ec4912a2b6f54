import Glibc
public import LinuxSystem
import SystemPackage

/// The socket that a broker listens on. If the broker made it, its end removes it from the file
/// system.
public struct ListeningSocket: ~Copyable {
  /// What is to be removed; nil for a socket that somebody else made, or that is in no directory.
  private let path: String?
  /// Which file that was, lest another broker's socket that has taken its place is removed.
  private let inode: (device: UInt, number: UInt)?
  private let socket: SocketListener

  /// A socket that is listening already: socket activation. Made non-blocking, with a queue as
  /// short as that of our own.
  public init(inherited socket: consuming Descriptor) throws(SystemError) {
    do throws(Errno) {
      self.socket = try SocketListener(inherited: socket)
    } catch {
      throw SystemError(operation: "use", subject: "the inherited socket", errno: error)
    }
    path = nil
    inode = nil
  }

  /// Makes a socket at `path`, for its owner and `group` to connect to. Its directory is made if it
  /// is missing. A socket that nobody answers at any more is removed; one that somebody does is an
  /// error, EADDRINUSE. A leading `@` is the abstract namespace, open to everybody.
  public init(path: String, group: UInt32? = nil) throws(SystemError) {
    let isAbstract = path.hasPrefix("@")
    let lock = isAbstract ? nil : try Self.lockPlace(of: path)
    try Self.makeWay(at: path)
    socket = try attempt(
      "listen on", path, try SocketListener(path: path, mode: 0o660, group: group))
    self.path = isAbstract ? nil : path
    inode = Self.inode(of: path)
    _ = consume lock
  }

  deinit {
    guard let path, let inode, let present = Self.inode(of: path), inode == present else { return }
    _ = unsafe unlink(path)
  }

  private static func inode(of path: String) -> (device: UInt, number: UInt)? {
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { return nil }
    return (UInt(status.st_dev), UInt(status.st_ino))
  }

  var descriptor: CInt { socket.rawValue }

  /// Accepts the next connection; nil when none waits.
  func accept() throws(Errno) -> Descriptor? { try socket.accept() }

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

  /// Removes a socket at `path` that nobody answers at any more. Throws EADDRINUSE where a broker
  /// answers: to be found out before a device is touched that one will not serve.
  public static func makeWay(at path: String) throws(SystemError) {
    do throws(Errno) {
      _ = try StreamSocket(connectingTo: path)
    } catch .noSuchFileOrDirectory {
      return
    } catch .connectionRefused {
      // No process listens. A file that is no socket is refused like this too.
      guard isSocket(path) else {
        throw SystemError(
          operation: "listen on", subject: path, errno: .fileExists, cause: "it is no socket")
      }
      _ = unsafe unlink(path)
      return
    } catch {
      throw SystemError(operation: "look for a broker at", subject: path, errno: error)
    }
    throw SystemError(
      operation: "listen on", subject: path, errno: .addressInUse,
      cause: "another broker answers there; stop it, or give another --socket")
  }

  private static func isSocket(_ path: String) -> Bool {
    var status = stat()
    return unsafe lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
  }
}
