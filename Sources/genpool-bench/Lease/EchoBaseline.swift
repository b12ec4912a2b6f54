import CBaselines

/// A C process that answers at once: the least that two calls to another process can take.
///
/// Its messages are as long as those of a lease, and the first reply carries a descriptor, which
/// the client closes.
///
/// One that blocks in recvmsg(2) is the least that any process takes; a server of many clients has
/// to wait in epoll_wait(2), one system call more for each message.
// SAFETY: the server is started in init and stopped in deinit, and used by one thread.
@safe
struct EchoBaseline: ~Copyable {
  private let server: OpaquePointer

  /// The lengths of the messages of a lease, in bytes.
  private static let acquire: (call: UInt32, reply: UInt32) = (72, 400)
  private static let release: (call: UInt32, reply: UInt32) = (120, 20)

  /// The process's wait for a message.
  enum Wait {
    case recvmsg, epoll
  }

  /// Starts the process. To be called before there are other threads.
  init(waitingIn wait: Wait) throws(BenchError) {
    guard let server = unsafe echo_start(wait == .epoll) else { throw .noBaseline }
    unsafe self.server = server
  }

  deinit { unsafe echo_stop(server) }

  /// Makes the two round trips of a lease.
  func roundTrips() throws(BenchError) {
    guard unsafe echo_call(server, Self.acquire.call, Self.acquire.reply, true),
      unsafe echo_call(server, Self.release.call, Self.release.reply, false)
    else { throw .noBaseline }
  }
}
