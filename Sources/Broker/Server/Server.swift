import BrokerLeases
import BrokerProtocol
import DeviceMemory
import Glibc
import LinuxSystem
import Logging
import SystemPackage

/// What a server serves: the calls of its sessions, and what their ends mean.
protocol CallHandler: AnyObject {
  /// Answers a call, now or later. Throws when it is none.
  func answer(_ frame: [UInt8], of session: Session) throws(MalformedMessage)
  /// No reply can reach the session any more. It may still have calls that were made before.
  func hangUp(of session: Session)
  /// The session has ended; its process lives on, for all that is known.
  func end(of session: Session)
  /// The process has died. Its sessions have ended.
  func death(of process: ProcessID)
  /// Whether the process may reach memory: it is remembered without a session then.
  func isHolder(_ process: ProcessID) -> Bool
}

/// The connections: accepts them, limits them by user, takes their calls in turn, sends what they
/// are to hear, and knows the processes at their other ends.
///
/// Invariant: a connection's end is not its process's end, which alone frees memory.
final class Server {
  /// The limits, from outside.
  struct Limits {
    var quotas: Quotas
    /// Connections at a time of all users but root.
    var connections: Int
    /// The longest time for which a connection may leave replies unread.
    var stall: Duration
    /// The group whose members are admins, beside root and the broker's own user.
    var adminGroup: UInt32?
  }

  /// The time for which calls of one connection after its first are begun before the next one in
  /// the line gets its turn.
  private static let turnTime = Duration.microseconds(200)
  /// How much of what a peer sent is taken before its connection is closed: more than fits a
  /// socket.
  private static let farewellRounds = 16

  private let loop: EventLoop
  private let logger: Logger
  private let limiter: LogRateLimiter
  private unowned let handler: any CallHandler

  private var limits: Limits
  private var acceptor: Acceptor?
  private var sessions: [SessionID: Session] = [:]
  private var quota = ConnectionQuota()
  /// Made with the server, whose sessions it serves.
  private var backlog: Backlog?
  /// Those that hear events.
  private var monitors: Set<SessionID> = []
  private var processes: [ProcessID: ClientProcess] = [:]
  private var lastNumber = 0

  init(
    on loop: EventLoop, _ limits: Limits, _ logger: Logger, _ limiter: LogRateLimiter,
    for handler: any CallHandler
  ) {
    self.loop = loop
    self.limits = limits
    self.logger = logger
    self.limiter = limiter
    self.handler = handler
    reconfigure(limits)
    backlog = Backlog(on: loop) { [unowned self] id in serveTurn(of: id) }
  }

  /// Limits from now on: no connection is closed by them. Admins are those of new connections.
  func reconfigure(_ limits: Limits) {
    self.limits = limits
    quota.quotas = limits.quotas
    quota.limit = limits.connections
    acceptor?.resume()
  }

  var sessionCount: Int { sessions.count }

  /// Whether the session has not ended.
  func isThere(_ session: SessionID) -> Bool { sessions[session] != nil }

  // MARK: Coming

  /// Accepts connections from `socket` once the loop runs.
  func listen(on socket: consuming ListeningSocket) throws(SystemError) {
    acceptor = try Acceptor(socket, on: loop, logger) { [unowned self] connection in
      accept(connection)
    }
  }

  private func accept(_ connection: consuming StreamSocket) {
    guard let user = Peer.user(of: connection) else { return }
    // Check the quota first: it is the only work that a flood can cause.
    if let excess = quota.excess(of: user) { return reject(connection, of: user, because: excess) }
    do throws(SystemError) {
      let peer = try Peer(of: connection)
      let isAdmin = isAdmin(user, peer.groups)
      let process = try register(peer)
      lastNumber += 1
      let session = Session(
        id: SessionID(rawValue: lastNumber), name: randomName(), socket: connection,
        process: process, user: user, isAdmin: isAdmin)
      process.sessions.insert(session.id)
      sessions[session.id] = session
      quota.add(user)
      do throws(SystemError) {
        session.watch = try loop.add(session.descriptor, session.interest) {
          [unowned self] readiness in serve(session, readiness)
        }
      } catch {
        close(session)
        throw error
      }
      logger.debug("connect", metadata: session.metadata)
    } catch {
      limiter.log(
        .notice, "connection refused", of: user, ["uid": "\(user)", "cause": "\(error)"])
      if error.errno == .tooManyOpenFiles || error.errno == .tooManyOpenFilesInSystem {
        acceptor?.pause(because: error.errno)
      }
    }
  }

  private func isAdmin(_ user: UID, _ groups: [UInt32]) -> Bool {
    user == .root || user.rawValue == geteuid()
      || limits.adminGroup.map(groups.contains) ?? false
  }

  /// The one object for a peer's process, however often it connects. Two living processes cannot
  /// have the same number; a dead one whose number was reused is reaped first.
  private func register(_ peer: consuming Peer) throws(SystemError) -> ClientProcess {
    if peer.pid.rawValue > 0, let known = processes.values.first(where: { $0.pid == peer.pid }) {
      if !known.hasDied { return known }
      reap(known)
    }
    lastNumber += 1
    let process = ClientProcess(id: ProcessID(rawValue: lastNumber), peer: peer)
    process.watch = try loop.add(process.deathDescriptor, .readable) { [unowned self] _ in
      reap(process)
    }
    processes[process.id] = process
    return process
  }

  /// Closes a connection that is one too many, and says why: the answer to whatever it was going to
  /// call. It does not wait for that call, or such connections would be held open for nothing.
  private func reject(
    _ connection: borrowing StreamSocket, of user: UID, because excess: BrokerError
  ) {
    limiter.log(
      .notice, "connection refused", of: user, ["uid": "\(user)", "cause": "\(excess)"])
    guard let reply = try? Reply.frame(error: excess) else { return }
    var farewell = OutputQueue()
    farewell.append(OutputQueue.Message(bytes: reply))
    // An empty socket takes it; a peer that has gone already does not need it. What came has to be
    // taken, or the peer would learn of a reset instead: unix_release_sock() in net/unix/af_unix.c.
    try? farewell.flush(to: connection)
    shutdown(connection.rawValue, CInt(SHUT_RD))
    for _ in 0..<Self.farewellRounds {
      guard let bytes = try? connection.receiveBytes(capacity: Session.receiveSize),
        !bytes.isEmpty
      else { return }
    }
  }

  // MARK: Serving

  // A client that makes one call at a time is answered when it comes. One that makes more at a time
  // gets in line with the rest of them, and as long as the line is, it keeps no client waiting that
  // just came.

  /// A connection is ready for something.
  private func serve(_ session: Session, _ readiness: EventLoop.Readiness) {
    guard readiness.isDisjoint(with: [.hangUp, .failed]) else { return finish(session) }
    do throws(SystemError) {
      if readiness.contains(.writable) { try session.flush() }
      if readiness.contains(.readable) { _ = try session.receive() }
      proceed(session)
    } catch {
      finish(session)
    }
  }

  private func serveTurn(of id: SessionID) {
    guard let session = sessions[id] else { return }
    session.isScheduled = false
    if session.isHungUp {
      finish(session, for: Self.turnTime)
    } else {
      proceed(session, for: Self.turnTime)
    }
  }

  /// Takes a call of a connection, or several for as long as `time`, and sends what it is to hear.
  /// Does nothing for a session that has ended.
  func proceed(_ session: Session, for time: Duration = .zero) {
    guard isThere(session.id) else { return }
    takeCalls(of: session, for: time)
    guard isThere(session.id), let watch = session.watch else { return }
    do throws(SystemError) {
      try session.flush()
    } catch {
      return finish(session)
    }
    if session.isDone { return close(session) }
    if session.takesCalls, session.hasUntakenCalls { schedule(session) }
    loop.change(watch, to: session.interest)
    if !session.output.isEmpty { watchForStall(session) }
  }

  private func takeCalls(of session: Session, for time: Duration) {
    session.hasUntakenCalls = true
    let end = ContinuousClock.now + time
    while session.takesCalls {
      do throws(MalformedMessage) {
        if let frame = try session.nextFrame() { try handler.answer(frame, of: session) }
        session.hasUntakenCalls = try session.hasFrame()
        guard session.hasUntakenCalls, .now < end else { return }
      } catch {
        limiter.log(
          .notice, "malformed", of: session.user, session.metadata(cause: "\(error)"))
        // What was answered before is still owed.
        try? session.flush()
        return close(session)
      }
      guard isThere(session.id) else { return }
    }
  }

  /// Ends a connection whose peer has gone. What it said before is done, but hears no answer.
  private func finish(_ session: Session, for time: Duration = .zero) {
    session.hangUp()
    handler.hangUp(of: session)
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

  /// Goes on with a connection when those that are in line have had their turn.
  private func schedule(_ session: Session) {
    guard !session.isScheduled else { return }
    session.isScheduled = true
    backlog?.append(session.id)
  }

  /// Drops a connection that has not read a byte in ``Limits/stall``. Its memory stays its
  /// process's.
  private func watchForStall(_ session: Session) {
    guard !session.isStallWatched else { return }
    session.isStallWatched = true
    let sent = session.output.sentByteCount
    loop.after(limits.stall) { [unowned self, id = session.id] in
      guard let session = sessions[id] else { return }
      session.isStallWatched = false
      guard !session.output.isEmpty else { return }
      guard session.output.sentByteCount == sent else { return watchForStall(session) }
      drop(session)
    }
  }

  private func drop(_ session: Session) {
    limiter.log(.notice, "dropped: it does not read", of: session.user, session.metadata)
    close(session)
  }

  // MARK: Monitors

  /// Makes a session hear events. It takes no further call.
  func addMonitor(_ session: Session) {
    session.isMonitoring = true
    monitors.insert(session.id)
  }

  var hasMonitors: Bool { !monitors.isEmpty }

  /// Sends an event to the monitors that may hear it.
  func publish(_ message: OutputQueue.Message, to mayHear: (Session) -> Bool) {
    for session in monitors.compactMap({ sessions[$0] }) where mayHear(session) {
      // It missed something in any case, and shall know that.
      guard session.output.pendingByteCount < Session.outputMark else {
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
    quota.remove(session.user)
    if let watch = session.watch { loop.remove(watch) }
    session.watch = nil
    monitors.remove(session.id)
    session.process.sessions.remove(session.id)
    handler.end(of: session)
    logger.debug("disconnect", metadata: session.metadata)
    forgetIfIdle(session.process.id)
    acceptor?.resume()
  }

  /// A process has died: its connections end, and its memory is free to be scrubbed.
  private func reap(_ process: ClientProcess) {
    forget(process)
    for id in process.sessions { sessions[id].map(close) }
    handler.death(of: process.id)
  }

  /// Forgets a process that has neither a connection nor a way to reach memory.
  func forgetIfIdle(_ id: ProcessID) {
    guard let process = processes[id], process.sessions.isEmpty, !handler.isHolder(id) else {
      return
    }
    forget(process)
  }

  private func forget(_ process: ClientProcess) {
    if let watch = process.watch { loop.remove(watch) }
    process.watch = nil
    processes[process.id] = nil
  }
}
