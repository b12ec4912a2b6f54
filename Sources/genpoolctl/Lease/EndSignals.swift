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

  /// Returns when one of the signals has come; throws when the broker has gone before.
  func wait(whileConnected connection: Connection) throws(Failure) {
    if StandardError.isTerminal { StandardError.write("Held until Ctrl-C.\n") }
    var entries = [
      pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0),
      // The broker says nothing unasked: what can be read is its end.
      pollfd(fd: connection.descriptor, events: Int16(POLLIN), revents: 0),
    ]
    while unsafe poll(&entries, nfds_t(entries.count), -1) < 0 {
      let errno = Errno(rawValue: errno)
      guard errno == .interrupted else { throw Failure("wait for signals: \(errno)") }
    }
    guard entries[0].revents == 0 else { return }
    throw Failure(
      "genpoold at \(connection.socket) has gone, and the lease with it: whoever uses its memory "
        + "must stop", status: Failure.unavailable)
  }
}
