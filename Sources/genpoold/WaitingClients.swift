import Broker
import BrokerProtocol
import Glibc
import LinuxSystem

/// The clients of a daemon that cannot start, at the sockets that a service manager passed.
///
/// A connection that the daemon leaves in the queue makes the service manager start it again, at
/// once, until the manager gives the socket up.
enum WaitingClients {
  /// The time for which clients are answered. A daemon that clients start over and over takes that
  /// long each time, so that the manager's limits of starts (systemd's is 20 in 2 s) are not met.
  private static let time = Duration.seconds(2)

  /// Answers each connection with `failure`. Does nothing, at once, when no socket was passed.
  static func reject(because failure: BrokerError) {
    guard
      let passed = try? SocketActivation(ProcessEnvironment.variables),
      let sockets = try? DaemonSockets.passed(passed)
    else { return }
    let deadline = ContinuousClock.now + time
    repeat {
      sockets.rejectConnections(because: failure, until: deadline)
      usleep(20_000)
    } while ContinuousClock.now < deadline
    // One that came while this slept.
    sockets.rejectConnections(because: failure, until: .now + .milliseconds(100))
  }
}
