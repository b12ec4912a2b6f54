import BrokerProtocol
import Glibc
import LinuxSystem

extension StreamSocket {
  /// The most that is taken of bytes that a peer sent before its connection is closed: more than
  /// fits a socket.
  private static let farewellRounds = 16

  /// Answers the call that the peer is going to make with an error, before the connection is
  /// closed. Does not wait for that call, or such connections would be held open for nothing.
  func reject(because failure: BrokerError) {
    guard let reply = try? Reply.frame(error: failure) else { return }
    var farewell = OutputQueue()
    farewell.append(OutputQueue.Message(bytes: reply))
    // An empty socket takes it; a peer that has gone already does not need it.
    try? farewell.flush(to: self)
    takeFarewell()
  }

  /// Takes the bytes that came before the connection is closed, or the peer would read a reset
  /// instead of an end: unix_release_sock() in net/unix/af_unix.c.
  func takeFarewell() {
    shutdown(rawValue, CInt(SHUT_RD))
    for _ in 0..<Self.farewellRounds {
      guard let bytes = try? receiveBytes(capacity: Session.receiveSize), !bytes.isEmpty else {
        return
      }
    }
  }
}
