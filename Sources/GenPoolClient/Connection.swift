public import BrokerProtocol
import Glibc
import LinuxSystem
import Synchronization
import SystemPackage

/// A session with the broker: a socket on which one call at a time is made and answered.
///
/// Leases belong to it and end at the latest with this process. All calls block, from any thread;
/// those of several threads take turns. An answer that misses its deadline is waited for by the
/// next call, and a lease that it brings is given back. After an answer that made no sense the two
/// ends no longer agree on whose turn it is, so every further call throws.
///
/// **fork().** A child has the socket but not the session: its calls throw EPERM. It connects anew.
public final class Connection: Sendable {
  /// Where the broker listens.
  public let socket: BrokerSocket
  /// The socket's number, to be polled for the broker's end or left open over exec(3). Valid as
  /// long as this object; nobody else reads, writes or closes it.
  public let descriptor: CInt

  /// How long a call may take, sending, waiting and receiving together.
  private let timeout: Duration
  /// Who connected.
  private let process: pid_t
  private let state: Mutex<State>

  private struct State: ~Copyable {
    var wire: Wire
    /// The two ends do not agree any more on whose turn it is.
    var isBroken = false
    /// The answers still to come to calls that were given up.
    var owed: [OwedReply] = []
  }

  /// An answer that nobody waits for any more.
  private enum OwedReply {
    /// It may bring a lease.
    case acquire
    case other
  }

  /// What errors call the two operations.
  static let connecting = "connect"
  static let calling = "call"

  /// Connects to the broker at `socket`: `.standard` as a client, `.standard.admin` as an admin.
  ///
  /// - Parameter timeout: how long a call may take. An Acquire waits while memory that would meet
  ///   it is still being scrubbed.
  /// - Throws: `system`, where `isUnreachable` says that no broker listens; EACCES where this
  ///   process may not connect.
  public init(
    to socket: BrokerSocket = .standard, timeout: Duration = .seconds(30)
  ) throws(ClientError) {
    func refusal(_ errno: Errno) -> ClientError {
      .system(
        SystemError(
          operation: Self.connecting, subject: socket.path, errno: errno,
          cause: errno.cause(inConnectingTo: socket)))
    }
    let connected: StreamSocket
    do throws(Errno) {
      connected = try StreamSocket(connectingTo: socket.path)
    } catch {
      throw refusal(error)
    }
    let wire = Wire(connected)
    descriptor = wire.descriptor
    self.socket = socket
    self.timeout = timeout
    process = getpid()
    state = Mutex(State(wire: wire))
  }

  /// What a method answered, and the descriptors that came with it.
  struct Answer<Method: VarlinkMethod>: ~Copyable, Sendable {
    let reply: Method.Reply
    var descriptors: ReceivedDescriptors
  }

  /// Calls `method` and waits for its answer. Descriptors that nobody expects are closed.
  package func call<Method: VarlinkMethod>(
    _ method: Method.Type, _ parameters: Method.Parameters
  ) throws(ClientError) -> Method.Reply {
    try callTakingDescriptors(method, parameters).reply
  }

  /// Calls `method` and waits for its answer, `patience` longer than for others.
  func callTakingDescriptors<Method: VarlinkMethod>(
    _ method: Method.Type, _ parameters: Method.Parameters, patience: Duration = .zero
  ) throws(ClientError) -> Answer<Method> {
    // Before all else: a child of several threads may find locks taken for ever, the runtime's too.
    try refuseForkedChild(method)
    let deadline = ContinuousClock.now + timeout + patience
    let frame = try frame(Call(method, parameters))
    return try state.withLock { (state) throws(ClientError) -> Answer<Method> in
      try begin(method, on: &state, before: deadline)
      var descriptors = ReceivedDescriptors()
      let received = try exchange(method, frame, on: &state, &descriptors, before: deadline)
      let reply = try understood(received, of: method, on: &state)
      state.isBroken = false
      return Answer(reply: reply, descriptors: descriptors)
    }
  }

  /// Calls `method` for its replies, and waits for the last. The connection can be used afterwards.
  package func collect<Method: VarlinkMethod>(
    _ method: Method.Type, _ parameters: Method.Parameters
  ) throws(ClientError) -> [Method.Reply] {
    try refuseForkedChild(method)
    let frame = try frame(Call(method, parameters, more: true))
    return try state.withLock { (state) throws(ClientError) in
      try begin(method, on: &state, before: .now + timeout)
      try send(frame, of: method, on: state.wire, before: .now + timeout)
      var replies: [Method.Reply] = []
      var continues = true
      while continues {
        // Unexpected descriptors are closed.
        var descriptors = ReceivedDescriptors()
        let received = try receive(method, on: &state, &descriptors, before: .now + timeout)
        replies.append(try understood(received, of: method, on: &state))
        continues = received.continues
      }
      guard !state.wire.hasUnaskedBytes else {
        throw violation(method, "more than one came after the last")
      }
      state.isBroken = false
      return replies
    }
  }

  /// Calls `method` for several replies, without an end but the connection's, unless `handle`
  /// returns false. Nobody can use the connection afterwards: replies may still come.
  func stream<Method: VarlinkMethod>(
    _ method: Method.Type, _ parameters: Method.Parameters, _ handle: (Method.Reply) -> Bool
  ) throws(ClientError) {
    var next = try start(method, parameters)
    while next.continues, handle(next.reply) {
      guard let later = try nextReply(to: method, before: .now + Self.unlimited) else { return }
      next = later
    }
  }

  /// Calls `method` for several replies and takes the first, which is an answer like any other.
  /// Further ones are taken with ``nextReply(to:before:)``, and nobody can use the connection
  /// otherwise.
  func start<Method: VarlinkMethod>(
    _ method: Method.Type, _ parameters: Method.Parameters
  ) throws(ClientError) -> (reply: Method.Reply, continues: Bool) {
    try refuseForkedChild(method)
    let frame = try frame(Call(method, parameters, more: true))
    return try state.withLock { (state) throws(ClientError) in
      try begin(method, on: &state, before: .now + timeout)
      try send(frame, of: method, on: state.wire, before: .now + timeout)
      // Unexpected descriptors are closed.
      var descriptors = ReceivedDescriptors()
      let reply = try receive(method, on: &state, &descriptors, before: .now + timeout)
      return try result(reply, of: method)
    }
  }

  /// The next reply to what was started; nil when none has come by `deadline`.
  func nextReply<Method: VarlinkMethod>(
    to method: Method.Type, before deadline: ContinuousClock.Instant
  ) throws(ClientError) -> (reply: Method.Reply, continues: Bool)? {
    try refuseForkedChild(method)
    return try state.withLock { (state) throws(ClientError) in
      var descriptors = ReceivedDescriptors()
      let answer: [UInt8]
      do throws(Wire.Failure) {
        answer = try state.wire.receive(into: &descriptors, before: deadline)
      } catch .late {
        return nil
      } catch {
        throw clientError(error, method)
      }
      return try result(parse(answer, of: method), of: method)
    }
  }

  private func result<Method: VarlinkMethod>(
    _ reply: ReceivedReply, of method: Method.Type
  ) throws(ClientError) -> (reply: Method.Reply, continues: Bool) {
    do throws(ReplyError) {
      return (try reply.result(of: method), reply.continues)
    } catch {
      throw clientError(error, method)
    }
  }

  /// As good as for ever: a hundred years.
  private static let unlimited = Duration.seconds(100 * 365 * 86_400)

  /// Tells the broker without waiting for anything: for `deinit`, which can neither wait nor fail.
  func tell<Method: VarlinkMethod>(_ method: Method.Type, _ parameters: Method.Parameters) {
    guard process == getpid(), let frame = try? frame(Call(method, parameters, oneway: true))
    else { return }
    state.withLock { state in
      guard !state.isBroken else { return }
      do {
        try state.wire.send(frame, before: .now)
      } catch {
        // Half a frame may have gone. The lease ends with this process.
        state.isBroken = true
      }
    }
  }
}

extension Connection {
  /// A call of `method` is about to be sent: the connection is broken until its answer has been
  /// understood.
  private func begin<Method: VarlinkMethod>(
    _ method: Method.Type, on state: inout State, before deadline: ContinuousClock.Instant
  ) throws(ClientError) {
    try refuseBroken(state, method)
    state.isBroken = true
    try settleOwed(&state, method, before: deadline)
  }

  /// The result in a reply. An error that makes sense leaves the connection as it should be.
  private func understood<Method: VarlinkMethod>(
    _ received: ReceivedReply, of method: Method.Type, on state: inout State
  ) throws(ClientError) -> Method.Reply {
    do throws(ReplyError) {
      return try received.result(of: method)
    } catch {
      if case .malformed = error {} else { state.isBroken = false }
      throw clientError(error, method)
    }
  }

  /// Sends a call and takes the one reply to it.
  private func exchange<Method: VarlinkMethod>(
    _ method: Method.Type, _ frame: [UInt8], on state: inout State,
    _ descriptors: inout ReceivedDescriptors, before deadline: ContinuousClock.Instant
  ) throws(ClientError) -> ReceivedReply {
    try send(frame, of: method, on: state.wire, before: deadline)
    let reply = try receive(method, on: &state, &descriptors, before: deadline)
    guard !reply.continues, !state.wire.hasUnaskedBytes else {
      throw violation(method, "more than one came")
    }
    return reply
  }

  private func send<Method: VarlinkMethod>(
    _ frame: [UInt8], of method: Method.Type, on wire: borrowing Wire,
    before deadline: ContinuousClock.Instant
  ) throws(ClientError) {
    do throws(Wire.Failure) {
      try wire.send(frame, before: deadline)
    } catch .closed {
      // Perhaps it said why: that this user has too many connections.
    } catch {
      throw clientError(error, method)
    }
  }

  /// Takes one reply. One that is late is owed from then on.
  private func receive<Method: VarlinkMethod>(
    _ method: Method.Type, on state: inout State,
    _ descriptors: inout ReceivedDescriptors, before deadline: ContinuousClock.Instant
  ) throws(ClientError) -> ReceivedReply {
    let answer: [UInt8]
    do {
      answer = try state.wire.receive(into: &descriptors, before: deadline)
    } catch {
      if case .late = error {
        state.owed.append(method == Broker1.Acquire.self ? .acquire : .other)
        state.isBroken = false
      }
      throw clientError(error, method)
    }
    return try parse(answer, of: method)
  }

  private func parse<Method: VarlinkMethod>(
    _ answer: [UInt8], of method: Method.Type
  ) throws(ClientError) -> ReceivedReply {
    do {
      return try ReceivedReply(frame: answer)
    } catch {
      throw violation(method, error.description)
    }
  }

  /// Takes the answers to calls that were given up, for the sake of a call of `method`, and gives
  /// back what they bring.
  private func settleOwed<Method: VarlinkMethod>(
    _ state: inout State, _ method: Method.Type, before deadline: ContinuousClock.Instant
  ) throws(ClientError) {
    while let owed = state.owed.first {
      var descriptors = ReceivedDescriptors()
      let answer: [UInt8]
      do {
        answer = try state.wire.receive(into: &descriptors, before: deadline)
      } catch {
        // Still not; and nothing of the new call has gone.
        if case .late = error { state.isBroken = false }
        throw clientError(error, method)
      }
      let reply = try? ReceivedReply(frame: answer)
      // More of the same answer are owed.
      if reply?.continues == true { continue }
      state.owed.removeFirst()
      guard owed == .acquire, let lease = try? reply?.result(of: Broker1.Acquire.self).lease
      else { continue }
      let release = Call(
        Broker1.Release.self, .init(lease: lease.lease, generation: lease.generation), oneway: true)
      try send(try frame(release), of: method, on: state.wire, before: deadline)
    }
  }

  private func frame<Method: VarlinkMethod>(_ call: Call<Method>) throws(ClientError) -> [UInt8] {
    do {
      return try call.frame()
    } catch {
      throw .broker(error)
    }
  }

  private func refuseForkedChild<Method: VarlinkMethod>(
    _ method: Method.Type
  ) throws(ClientError) {
    guard process == getpid() else {
      throw failedCall(method, .notPermitted, "a forked child has to connect anew")
    }
  }

  private func refuseBroken<Method: VarlinkMethod>(
    _ state: borrowing State, _ method: Method.Type
  ) throws(ClientError) {
    guard !state.isBroken else {
      throw failedCall(
        method, Errno(rawValue: ENOTCONN),
        "an earlier call on this connection failed half-way; connect anew")
    }
  }

  private func clientError<Method: VarlinkMethod>(
    _ failure: Wire.Failure, _ method: Method.Type
  ) -> ClientError {
    switch failure {
    case .closed:
      failedCall(
        method, .connectionReset,
        "genpoold has ended or closed the connection; its log says why (journalctl -u genpoold)")
    case .late:
      failedCall(
        method, .timedOut, "no answer within \(timeout); genpoold is busy, stopped, or hangs")
    case .malformed(let cause):
      violation(method, cause)
    case .system(let errno): failedCall(method, errno, nil)
    }
  }

  private func failedCall<Method: VarlinkMethod>(
    _ method: Method.Type, _ errno: Errno, _ cause: String?
  ) -> ClientError {
    .system(
      SystemError(
        operation: Self.calling, subject: "\(Method.name) at \(socket)", errno: errno, cause: cause
      ))
  }

  private func clientError<Method: VarlinkMethod>(
    _ error: ReplyError, _ method: Method.Type
  ) -> ClientError {
    switch error {
    case .broker(let error): .broker(error)
    case .unknown(let name): .unknown(name: name)
    case .malformed(let error): violation(method, error.description)
    }
  }

  private func violation<Method: VarlinkMethod>(
    _ method: Method.Type, _ cause: String
  ) -> ClientError {
    .violation(ProtocolViolation(method: Method.name, cause: cause))
  }
}

extension Errno {
  /// What connect(2) means by it here, and what helps.
  fileprivate func cause(inConnectingTo socket: BrokerSocket) -> String? {
    switch self {
    case .noSuchFileOrDirectory, .connectionRefused:
      socket.isAdmin
        ? "is genpoold running, with its admin socket? systemctl start genpoold-admin.socket genpoold, or "
          + "genpoold --attach …; GENPOOL_SOCKET or --socket names another socket, and the admin socket with it"
        : "is genpoold running? systemctl start genpoold, or genpoold --attach …; "
          + "GENPOOL_SOCKET or --socket names another socket"
    case .permissionDenied:
      socket.isAdmin
        ? "the admin socket is for \(socket.audience(group: "genpool-admin"))"
        : "the socket is for \(socket.audience(group: "genpool"))"
    case .fileNameTooLong: "a socket's path has at most 107 bytes; choose a shorter one"
    default: nil
    }
  }
}
