import CLinux
import Glibc
package import SystemPackage

/// A Unix stream socket that listens. Closes it; a socket in a directory stays there. unix(7).
package struct SocketListener: ~Copyable, Sendable {
  private let descriptor: Descriptor

  /// Creates a non-blocking socket at `path`, which must not exist; a leading `@` is the abstract
  /// namespace. No process can connect before the socket has its mode and group, and its file never
  /// has more permissions than `mode`, whatever the umask is.
  /// - Parameters:
  ///   - mode: permission bits.
  ///   - group: the group of the file; nil for that of the process.
  /// - Throws: EADDRINUSE when `path` exists; ENAMETOOLONG; EACCES, EPERM and what else bind(2),
  ///   chown(2) and chmod(2) give.
  package init(path: String, mode: UInt32, group: UInt32? = nil) throws(Errno) {
    // -1 is "leave it", here and in chown(2).
    descriptor = try Descriptor(result: unsafe gl_listen(path, mode, group ?? .max))
  }

  /// Takes over a socket that is bound, made non-blocking, with a queue as short as that of
  /// ``init(path:mode:group:)``.
  /// - Throws: ENOTSOCK, EOPNOTSUPP and what else listen(2) gives.
  package init(inherited socket: consuming Descriptor) throws(Errno) {
    let flags = fcntl(socket.rawValue, F_GETFL)
    guard flags >= 0, fcntl(socket.rawValue, F_SETFL, flags | O_NONBLOCK) == 0,
      listen(socket.rawValue, CInt(GL_BACKLOG)) == 0
    else { throw Errno(rawValue: errno) }
    descriptor = socket
  }

  /// Whether a process listens at `path`. Does not wait, however long the queue there is.
  /// - Throws: ENOENT when no file is there; EACCES and what else connect(2) gives.
  package static func isServed(_ path: String) throws(Errno) -> Bool {
    try (unsafe gl_is_served(path)).orErrno() == 1
  }

  /// The path that the socket is bound to; a leading `@` is the abstract namespace. Nil for a
  /// socket without a path.
  package var path: String? {
    var bytes = [CChar](repeating: 0, count: 128)
    guard unsafe gl_socket_path(rawValue, &bytes, bytes.count) == 0 else { return nil }
    return String(decoding: bytes.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  /// Refuses further connections with ECONNREFUSED; those that wait can still be accepted.
  package func refuseConnections() {
    shutdown(rawValue, CInt(SHUT_RD))
  }

  /// The socket's descriptor: readable while a connection waits to be accepted.
  package var rawValue: CInt { descriptor.rawValue }

  /// Accepts the next connection, which is non-blocking.
  /// - Returns: nil when no connection waits.
  /// - Throws: EMFILE, ENFILE, ENOBUFS or ENOMEM: the connection stays in the queue. accept(2).
  package func accept() throws(Errno) -> Descriptor? {
    let result = gl_accept(rawValue)
    return result == -EAGAIN ? nil : try Descriptor(result: result)
  }
}
