import BrokerLeases
import BrokerProtocol
import Glibc
import LinuxSystem
import Logging
import SystemPackage

/// What a server serves: the calls of its sessions, and what their ends mean.
protocol CallHandler: AnyObject {
  /// The reply to a call that concerns leases or pools; nil when it comes later.
  func reply(
    to call: ReceivedCall, of session: Session
  ) throws(BrokerError) -> OutputQueue.Message?
  /// A call was refused.
  func refused(because failure: BrokerError)
  /// No reply can reach the session any more. It may still have calls that were made before.
  func hangUp(of session: Session)
  /// The session has ended; its process lives on, for all that is known.
  func end(of session: Session)
  /// The process has died. Its sessions have ended.
  func death(of process: ProcessID)
  /// Whether the process may reach memory: it is remembered without a session then.
  func isHolder(_ process: ProcessID) -> Bool
}

/// The connections: accepts them, limits them by user, takes their calls in turn, sends replies and
/// events, and knows the processes at their other ends.
///
/// Invariant: a connection's end is not its process's end, which alone frees memory.
final class Server {
  /// What the configuration says.
  struct Settings {
    /// The limits of each user.
    var quotas: Quotas
    /// Connections at a time of all users but root.
    var connections: Int
    /// Processes of an account but root's.
    var processes: Int
    /// The longest time for which a connection may leave replies unread.
    var stall: Duration
    /// The group whose members may connect to the admins' socket, beside root and the broker's own
    /// user.
    var adminGroup: UInt32?
    /// The broker's version, for clients that ask.
    var version: String
  }

  /// The time between two looks at connections that have ended with a descriptor on its way.
  private static let lingerPause = Duration.milliseconds(250)
  /// The time between two looks at whether descriptors that are on their way were received.
  private static let congestionPause = Duration.milliseconds(10)
  /// The time for which calls of one connection after its first are begun before the next one in
  /// the line gets its turn.
  private static let turnTime = Duration.microseconds(200)

  private let loop: EventLoop
  private let logger: Logger
  private let limiter: LogRateLimiter
  private unowned let handler: any CallHandler

  private var settings: Settings
  /// One a socket: the clients', the admins'.
  private var acceptors: [Acceptor] = []
  private var sessions: [SessionID: Session] = [:]
  private var quota = ConnectionQuota()
  private lazy var turns = Turns(on: loop) { [unowned self] id in serveTurn(of: id) }
  private lazy var dispatcher = Dispatcher(
    self, handler, version: settings.version, logger, limiter)
  /// Connections that have ended, with a descriptor on its way.
  private var lingering: [Session] = []
  /// The sessions that get events.
  private var monitors: Set<SessionID> = []
  private lazy var processes = ClientProcesses(on: loop) { [unowned self] process in
    end(process)
  }
  private var lastNumber = 0

  init(
    on loop: EventLoop, _ settings: Settings, _ logger: Logger, _ limiter: LogRateLimiter,
    for handler: any CallHandler
  ) {
    self.loop = loop
    self.settings = settings
    self.logger = logger
    self.limiter = limiter
    self.handler = handler
    reconfigure(settings)
  }

  /// Limits from now on: no connection is closed by them. The admins' group is judged anew for each
  /// connection that came by their socket: one whose process may not connect there any more is
  /// answered PermissionDenied, and closed.
  func reconfigure(_ settings: Settings) {
    let isGroupNew = settings.adminGroup != self.settings.adminGroup
    self.settings = settings
    quota.quotas = settings.quotas
    quota.limit = settings.connections
    processes.limit = settings.processes
    dispatcher.version = settings.version
    for acceptor in acceptors {
      acceptor.admit(settings.adminGroup)
      acceptor.resume()
    }
    guard isGroupNew else { return }
    for session in sessions.values
    where session.isAdmin && !mayAdminister(session.user, session.groups) {
      // Not kept as an ordinary session: its lists would silently become shorter.
      limiter.log(
        .notice, "dismissed", of: session.account,
        session.metadata(cause: "\(BrokerError.permissionDenied)"))
      session.dismiss(because: .permissionDenied)
      close(session)
    }
  }

  var sessionCount: Int { sessions.count }

  /// The processes that have died, which was not noticed yet.
  var deadProcesses: [ProcessID] { processes.dead }

  /// Whether the session has not ended.
  func isThere(_ session: SessionID) -> Bool { sessions[session] != nil }

  // MARK: Coming

  /// Accepts connections from `socket` once the loop runs.
  func listen(on socket: consuming ListeningSocket) throws(SystemError) {
    let audience = socket.audience
    acceptors.append(
      try Acceptor(socket, on: loop, logger) { [unowned self] connection in
        accept(connection, as: audience)
      })
  }

  private func accept(
    _ connection: consuming StreamSocket, as audience: ListeningSocket.Audience
  ) {
    guard let user = Peer.user(of: connection) else { return }
    let account = settings.quotas.account(of: user)
    // Check the quota first: it is the only work that a flood can cause.
    if let excess = quota.excess(of: account) {
      limiter.log(
        .notice, "connection refused", of: account, ["uid": "\(user)", "cause": "\(excess)"])
      return connection.reject(because: excess)
    }
    do throws(SystemError) {
      let peer = try Peer(of: connection)
      let isAdmin = audience == .admins
      // A plain session here would see less than its client expects, without an error.
      guard !isAdmin || mayAdminister(user, peer.groups) else {
        limiter.log(
          .notice, "connection refused", of: user,
          ["uid": "\(user)", "cause": "\(BrokerError.permissionDenied)"])
        return connection.reject(because: .permissionDenied)
      }
      let process = try processes.register(peer, of: account)
      lastNumber += 1
      let session = Session(
        id: SessionID(rawValue: lastNumber), name: randomName(), socket: connection,
        process: process, user: user, account: account, isAdmin: isAdmin)
      process.add(session.id)
      sessions[session.id] = session
      quota.add(account)
      do throws(SystemError) {
        try session.watch(on: loop) { [unowned self] readiness in serve(session, readiness) }
      } catch {
        close(session)
        throw error
      }
      logger.debug("connect", metadata: session.metadata)
    } catch {
      limiter.log(
        .notice, "connection refused", of: account, ["uid": "\(user)", "cause": "\(error)"])
      if error.errno == .tooManyOpenFiles || error.errno == .tooManyOpenFilesInSystem {
        for acceptor in acceptors { acceptor.pause(because: error.errno) }
      }
    }
  }

  /// Whether the process may connect to the admins' socket, which alone makes it an admin: the mode
  /// of that socket decides the same, except in the abstract namespace.
  private func mayAdminister(_ user: UID, _ groups: [UInt32]) -> Bool {
    user == .root || user.rawValue == geteuid()
      || settings.adminGroup.map(groups.contains) ?? false
  }

  // MARK: Serving

  // A client that makes one call at a time is answered when it comes, as long as its user has not
  // had more of the loop's time than others. One that makes more at a time gets in its user's line
  // with the rest of them.

  /// A connection is ready for something.
  private func serve(_ session: Session, _ readiness: EventLoop.Readiness) {
    let hasGone = readiness.isOfEnd
    guard turns.mayBeServed(session.account) else {
      if hasGone { hangUp(session) }
      return schedule(session)
    }
    turns.charge(session.account) {
      if hasGone { finish(session) } else { exchange(session) }
    }
  }

  private func serveTurn(of id: SessionID) {
    guard let session = sessions[id] else { return }
    session.endTurn()
    if session.isHungUp {
      finish(session, for: Self.turnTime)
    } else {
      exchange(session, for: Self.turnTime)
    }
  }

  /// Sends and receives what goes, and takes calls.
  private func exchange(_ session: Session, for time: Duration = .zero) {
    do throws(SystemError) {
      if !session.output.isEmpty { try session.flush() }
      session.awaitReceipt()
      if session.interest.isReadable { _ = try session.receive() }
      proceed(session, for: time)
    } catch {
      finish(session)
    }
  }

  /// Answers a call that waited with the result or the error of `body`.
  func answer(
    _ call: ReceivedCall, of session: Session,
    by body: () throws(BrokerError) -> OutputQueue.Message?
  ) {
    dispatcher.answer(call, of: session, by: body)
  }

  /// Takes a call of a connection, or several for as long as `time`, and sends what it is to hear.
  /// Does nothing for a session that has ended.
  func proceed(_ session: Session, for time: Duration = .zero) {
    guard isThere(session.id) else { return }
    if session.listing != nil {
      if session.output.isEmpty { dispatcher.answerMore(session) }
    } else {
      takeCalls(of: session, for: time)
    }
    guard isThere(session.id) else { return }
    do throws(SystemError) {
      try session.flush()
    } catch {
      return finish(session)
    }
    if session.isDone { return close(session) }
    if session.hasUntakenCalls { session.awaitReceipt() }
    let isNext =
      session.listing != nil
      ? session.output.isEmpty : session.takesCalls && session.hasUntakenCalls
    if isNext { schedule(session) }
    session.updateWatch(on: loop)
    if session.output.isCongested { retryLater(session) }
    if !session.output.isEmpty { watchForStall(session) }
  }

  /// Sends on when descriptors of others, of which too many are on their way, may have been
  /// received.
  private func retryLater(_ session: Session) {
    loop.after(Self.congestionPause) { [unowned self, id = session.id] in
      if let session = sessions[id], session.output.isCongested { proceed(session) }
    }
  }

  private func takeCalls(of session: Session, for time: Duration) {
    session.expectUntakenCalls()
    let end = ContinuousClock.now + time
    session.awaitReceipt()
    while session.takesCalls {
      do throws(MalformedMessage) {
        if let frame = try session.nextFrame() { try dispatcher.answer(frame, of: session) }
        try session.findUntakenCalls()
        guard session.hasUntakenCalls, .now < end else { return }
      } catch {
        limiter.log(
          .notice, "malformed", of: session.account, session.metadata(cause: "\(error)"))
        // What was answered before is still owed.
        try? session.flush()
        return close(session)
      }
      guard isThere(session.id) else { return }
    }
  }

  /// Ends a connection whose peer has gone. What it said before is done, but hears no answer.
  private func finish(_ session: Session, for time: Duration = .zero) {
    hangUp(session)
    do throws(SystemError) {
      takeCalls(of: session, for: time)
      guard isThere(session.id) else { return }
      // What a full socket holds is more than others should wait for. A monitor takes no calls.
      if session.takesCalls {
        if session.hasUntakenCalls { return schedule(session) }
        if try session.receive() { return schedule(session) }
      }
    } catch {
      logger.debug("connection lost", metadata: session.metadata(cause: "\(error)"))
    }
    close(session)
  }

  private func hangUp(_ session: Session) {
    guard !session.isHungUp else { return }
    session.hangUp()
    handler.hangUp(of: session)
  }

  /// Goes on with a connection when those that are in line have had their turn.
  private func schedule(_ session: Session) {
    if session.beginTurn() { turns.append(session.id, of: session.account) }
  }

  /// Drops a connection that has not read a byte in ``Settings/stall``. Its memory stays its
  /// process's.
  private func watchForStall(_ session: Session) {
    guard session.beginStallWatch() else { return }
    let sent = session.output.sentByteCount
    loop.after(settings.stall) { [unowned self, id = session.id] in
      guard let session = sessions[id] else { return }
      session.endStallWatch()
      guard !session.output.isEmpty else { return }
      guard session.output.sentByteCount == sent, !session.output.isCongested else {
        return watchForStall(session)
      }
      drop(session)
    }
  }

  private func drop(_ session: Session) {
    limiter.log(.notice, "dropped: it does not read", of: session.account, session.metadata)
    close(session)
  }

  // MARK: Monitors

  /// Sends events to a session from now on. It takes no further call.
  func addMonitor(_ session: Session) {
    session.beginMonitoring()
    monitors.insert(session.id)
  }

  /// Sends an event to the monitors. An event of a lease is for its user and for admins, as in
  /// ListLeases.
  func publish(_ event: Broker1.Event) {
    guard !monitors.isEmpty else { return }
    do throws(BrokerError) {
      let reply = Broker1.Monitor.Reply(event: event)
      send(try OutputQueue.Message(reply, continues: true)) { session in
        session.isAdmin || event.uid == nil || event.uid == session.user
      }
    } catch {
      logger.error("no event", metadata: ["cause": "\(error)"])
    }
  }

  private func send(_ message: OutputQueue.Message, to isAllowed: (Session) -> Bool) {
    for session in monitors.compactMap({ sessions[$0] }) where isAllowed(session) {
      // It missed something in any case, and its end shows that.
      guard session.output.pendingByteCount < Session.monitorMark else {
        drop(session)
        continue
      }
      session.send(message)
      schedule(session)
    }
  }

  // MARK: Going

  /// Ends a connection. Its leases stay its process's until that dies.
  func close(_ session: Session) {
    guard sessions.removeValue(forKey: session.id) != nil else { return }
    if session.hasUnreceivedDescriptor { linger(session) } else { quota.remove(session.account) }
    session.endWatch(on: loop)
    monitors.remove(session.id)
    session.process.remove(session.id)
    handler.end(of: session)
    logger.debug("disconnect", metadata: session.metadata)
    forgetIfIdle(session.process.id)
    for acceptor in acceptors { acceptor.resume() }
  }

  /// Keeps the place of a connection that has ended until its peer has received the descriptor that
  /// is on its way, or has closed: a client that ends its connections must not have more on their
  /// way.
  private func linger(_ session: Session) {
    lingering.append(session)
    guard lingering.count == 1 else { return }
    watchLingering()
  }

  private func watchLingering() {
    loop.after(Self.lingerPause) { [unowned self] in
      var left: [Session] = []
      for session in lingering {
        if session.hasUnreceivedDescriptor {
          left.append(session)
        } else {
          quota.remove(session.account)
        }
      }
      lingering = left
      for acceptor in acceptors { acceptor.resume() }
      if !left.isEmpty { watchLingering() }
    }
  }

  /// A process has died: its connections end, and its memory is free to be scrubbed.
  private func end(_ process: ClientProcess) {
    for id in process.sessions { sessions[id].map(close) }
    handler.death(of: process.id)
  }

  /// Forgets a process that has neither a connection nor a way to reach memory.
  func forgetIfIdle(_ id: ProcessID) {
    guard let process = processes[id], process.sessions.isEmpty, !handler.isHolder(id) else {
      return
    }
    processes.forget(process)
  }
}
