public import BrokerProtocol
import Glibc
import LinuxSystem

extension ListeningSocket {
  /// Answers each connection that waits with `failure` and closes it, for a broker that cannot
  /// serve. Returns when none waits any more, or at `deadline`. Never waits for a peer.
  public borrowing func rejectConnections(
    because failure: BrokerError, until deadline: ContinuousClock.Instant
  ) {
    while ContinuousClock.now < deadline, let connection = try? accept() {
      StreamSocket(connection).reject(because: failure)
    }
  }
}
