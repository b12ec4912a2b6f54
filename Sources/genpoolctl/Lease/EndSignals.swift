import BrokerProtocol
import GenPoolClient
import Glibc
import LinuxSystem
import SystemPackage

/// What ends a held lease: SIGINT, SIGTERM and SIGHUP, read from a descriptor, so that the lease is
/// given back in the ordinary way; and its revocation.
///
/// From its making on these signals wait: make it when nothing slow is left to do.
struct EndSignals: ~Copyable {
  private let signals: SignalQueue
  private let events: EventStream

  /// - Parameter events: of the broker that the lease is from, since before the lease is printed.
  init(events: EventStream) throws(SystemError) {
    signals = try SignalQueue([SIGINT, SIGTERM, SIGHUP])
    self.events = events
  }

  /// Returns when one of the signals has come, or the lease was revoked: then why. Throws when the
  /// broker has gone before.
  func wait(
    for lease: LeaseID, whileConnected connection: Connection
  ) throws(Failure) -> String? {
    var entries = [
      pollfd(fd: signals.rawValue, events: Int16(POLLIN), revents: 0),
      // The broker says nothing unasked: what can be read is its end.
      pollfd(fd: connection.descriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: events.descriptor, events: Int16(POLLIN), revents: 0),
    ]
    while entries[1].revents == 0 {
      // A hang-up of both connections is told by the first.
      while let event = try? events.next() {
        guard event.event == .leaseRevoked, event.lease == lease else { continue }
        return event.cause ?? "nobody says why"
      }
      while unsafe poll(&entries, nfds_t(entries.count), -1) < 0 {
        let errno = Errno(rawValue: errno)
        guard errno == .interrupted else { throw Failure("wait for signals: \(errno)") }
      }
      guard entries[0].revents == 0 else { return nil }
      // A monitor that was hung up on is readable for ever.
      if entries[2].revents & Int16(POLLHUP) != 0 { entries[2].fd = -1 }
    }
    throw Failure(
      "genpoold at \(connection.socket) has gone, and the lease with it: whoever uses its memory "
        + "must stop", status: Failure.unavailable)
  }
}
