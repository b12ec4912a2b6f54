import Glibc
import LinuxSystem

/// Tells the service manager how far the daemon is, and that it lives: sd_notify(3), without its
/// library.
final class Readiness {
  /// How often the manager wants to be told `WATCHDOG=1`: twice in the time after which it would
  /// give the daemon up. Nil when it does not watch this process. sd_watchdog_enabled(3).
  let heartbeatInterval: Duration?

  /// Where the manager listens.
  private let path: String
  /// Made once, so that a daemon that has run out of descriptors is not taken for dead.
  private let socket: DatagramSender

  /// What `environment` says of the manager; nil when none wants to know.
  init?(_ environment: [String: String]) {
    guard let path = environment["NOTIFY_SOCKET"], !path.isEmpty else { return nil }
    guard let socket = try? DatagramSender() else { return nil }
    self.path = path
    self.socket = socket
    let isWatched = environment["WATCHDOG_PID"].map { $0 == String(getpid()) } ?? true
    let limit = environment["WATCHDOG_USEC"].flatMap { Int64($0) } ?? 0
    heartbeatInterval = isWatched && limit > 0 ? .microseconds(limit) / 2 : nil
  }

  /// Says that a reload begins, which ends with `READY=1`: sd_notify(3).
  func tellReloading() {
    var now = timespec()
    guard unsafe clock_gettime(CLOCK_MONOTONIC, &now) == 0 else { return }
    tell("RELOADING=1\nMONOTONIC_USEC=\(now.tv_sec * 1_000_000 + now.tv_nsec / 1000)")
  }

  /// Says `states`, such as `READY=1`, in one message. A manager that does not listen is not the
  /// daemon's concern.
  func tell(_ states: String...) {
    try? socket.send(Array(states.joined(separator: "\n").utf8), to: path)
  }
}
