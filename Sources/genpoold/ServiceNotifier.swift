import Glibc
import LinuxSystem

/// Notifies the service manager of the daemon's state, and that it lives: sd_notify(3), without its
/// library.
final class ServiceNotifier {
  /// The interval of `WATCHDOG=1`: half the time after which the manager would give the daemon up.
  /// Nil when it does not watch this process. sd_watchdog_enabled(3).
  let heartbeatInterval: Duration?

  /// The manager's socket.
  private let path: String
  /// Made once, so that a daemon that has run out of descriptors is not taken for dead.
  private let socket: DatagramSender

  /// The notifier of the manager that `environment` names; nil when it names none.
  init?(_ environment: [String: String]) {
    guard let path = environment["NOTIFY_SOCKET"], !path.isEmpty else { return nil }
    guard let socket = try? DatagramSender() else { return nil }
    self.path = path
    self.socket = socket
    let isWatched = environment["WATCHDOG_PID"].map { $0 == String(getpid()) } ?? true
    let limit = environment["WATCHDOG_USEC"].flatMap { Int64($0) } ?? 0
    heartbeatInterval = isWatched && limit > 0 ? .microseconds(limit) / 2 : nil
  }

  /// Notifies that a reload begins, which ends with `READY=1`: sd_notify(3).
  func notifyReloading() {
    var now = timespec()
    guard unsafe clock_gettime(CLOCK_MONOTONIC, &now) == 0 else { return }
    notify("RELOADING=1\nMONOTONIC_USEC=\(now.tv_sec * 1_000_000 + now.tv_nsec / 1000)")
  }

  /// Sends `states`, such as `READY=1`, in one message. A manager that does not listen is not the
  /// daemon's concern.
  func notify(_ states: String...) {
    try? socket.send(Array(states.joined(separator: "\n").utf8), to: path)
  }
}
