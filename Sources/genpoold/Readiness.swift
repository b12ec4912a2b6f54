import CLinux
import Glibc

/// Tells the service manager how far the daemon is: sd_notify(3), without its library.
struct Readiness {
  private let socket: String?

  init(_ environment: [String: String]) {
    socket = environment["NOTIFY_SOCKET"].flatMap { $0.isEmpty ? nil : $0 }
  }

  /// Says that a reload begins, which ends with `READY=1`: sd_notify(3).
  func tellReloading() {
    var now = timespec()
    guard unsafe clock_gettime(CLOCK_MONOTONIC, &now) == 0 else { return }
    tell("RELOADING=1\nMONOTONIC_USEC=\(now.tv_sec * 1_000_000 + now.tv_nsec / 1000)")
  }

  /// Says `state`, such as `READY=1`, if anybody wants to know. A manager that does not listen is not
  /// the daemon's concern.
  func tell(_ state: String) {
    guard let socket else { return }
    let bytes = Array(state.utf8)
    _ = unsafe bytes.withUnsafeBytes {
      unsafe gl_send_datagram(socket, $0.baseAddress, $0.count)
    }
  }
}
