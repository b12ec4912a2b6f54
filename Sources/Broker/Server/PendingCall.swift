import BrokerProtocol

/// A call that waits for memory, and its connection, which takes no further call until
/// ``end()``.
struct PendingCall {
  let session: Session
  let call: ReceivedCall
  private let loop: EventLoop
  /// Nil when it waits as long as memory is being scrubbed for it.
  private let timer: EventLoop.Timer?

  /// The wait begins. Calls `handler` when it has lasted for `timeout`.
  init(
    _ call: ReceivedCall, of session: Session, on loop: EventLoop, timeout: Duration?,
    handler: @escaping () -> Void
  ) {
    self.session = session
    self.call = call
    self.loop = loop
    timer = timeout.map { loop.after($0, handler: handler) }
    session.beginWait()
  }

  /// The wait is over.
  func end() {
    session.endWait()
    if let timer { loop.cancel(timer) }
  }
}
