import BrokerProtocol
import CLinux
import DeviceMemory
import GenPoolClient
import Glibc
import SystemPackage

/// The signals that end a held lease: SIGINT, SIGTERM and SIGHUP, read from a descriptor, so that the
/// lease is given back in the ordinary way.
///
/// From its making on these signals wait: make it when nothing slow is left to do.
struct EndSignals: ~Copyable {
  private let descriptor: Descriptor

  init() throws(SystemError) {
    let signals = [SIGINT, SIGTERM, SIGHUP]
    let result = unsafe signals.withUnsafeBufferPointer {
      unsafe gl_signals_create($0.baseAddress, CInt($0.count))
    }
    guard result >= 0 else {
      throw SystemError(
        operation: "wait for", subject: "signals", errno: Errno(rawValue: -result))
    }
    descriptor = Descriptor(owning: result)
  }

  /// How often the broker is asked whether the lease was revoked.
  private static let pause: CInt = 1000  // milliseconds

  /// Returns when one of the signals has come; throws when the broker has gone or has revoked `lease`
  /// before.
  func wait(with lease: borrowing Lease, of connection: Connection) throws {
    if StandardError.isTerminal { StandardError.write("Held until Ctrl-C.\n") }
    var entries = [
      pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0),
      // The broker says nothing unasked: what can be read is its end.
      pollfd(fd: connection.descriptor, events: Int16(POLLIN), revents: 0),
    ]
    while true {
      let count = unsafe poll(&entries, nfds_t(entries.count), Self.pause)
      guard count >= 0 || errno == EINTR else {
        throw Failure("wait for signals: \(Errno(rawValue: errno))")
      }
      if entries[0].revents != 0 { return }
      if entries[1].revents != 0 {
        throw Failure(
          "genpoold at \(connection.socket) has gone, and the lease with it: whoever uses its memory "
            + "must stop", status: Failure.unavailable)
      }
      if try lease.checkRevoked() {
        throw Failure(
          "lease \(lease.grant.lease) was revoked: its device was removed or failed, or an admin took "
            + "it back")
      }
    }
  }
}
