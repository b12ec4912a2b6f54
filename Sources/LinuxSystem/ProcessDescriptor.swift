import CLinux
import Glibc
package import SystemPackage

/// A process, by a pidfd: never another process that got its number later. pidfd_open(2).
package struct ProcessDescriptor: ~Copyable, Sendable {
  private let descriptor: Descriptor

  /// The process at the other end of a Unix socket, whose number `pid` is. `SO_PEERPIDFD`.
  ///
  /// Before Linux 6.5 the pidfd is opened by the number. The peer may have died since it connected,
  /// and its number may be another's by then; but a peer that had died would have hung up, so if it
  /// has not, the number was its own when the pidfd was opened. What remains is a dead peer whose
  /// forked child keeps the connection: then a stranger's death is waited for.
  /// - Throws: ESRCH when the peer is gone, or in a pid namespace that this process cannot see;
  ///   EMFILE, ENFILE.
  package init(peerOf socket: borrowing StreamSocket, pid: Int32) throws(Errno) {
    let result = gl_peer_pidfd(socket.rawValue)
    guard result == -ENOPROTOOPT else {
      descriptor = try Descriptor(result: result)
      return
    }
    let opened = try Descriptor(result: pid > 0 ? gl_pidfd_open(pid) : -ESRCH)
    guard gl_is_hung_up(socket.rawValue) == 0 else { throw .noSuchProcess }
    descriptor = opened
  }

  /// The pidfd: readable once the process has died.
  package var rawValue: CInt { descriptor.rawValue }

  /// The process's identity; nil where the kernel shows none: before Linux 6.9, of a process in a
  /// pid namespace that this process cannot see.
  /// - Parameter pid: the process's number, 0 in such a namespace.
  package func identity(pid: Int32) -> ProcessIdentity? {
    let inode = gl_pidfd_inode(rawValue)
    if inode > 0 { return .inode(UInt64(inode)) }
    guard pid > 0 else { return nil }
    let start = ProcessIdentity.start(of: pid)
    // Of a process that has not died the number was its own meanwhile.
    return .number(pid, start: hasDied ? nil : start)
  }

  /// Whether the process has died. False where the kernel does not tell.
  package var hasDied: Bool { gl_has_died(rawValue) == 1 }
}
