import BrokerProtocol
import CLinux
import Glibc
public import LinuxSystem
import Logging
import SystemPackage

// Who is connected. A connection's end is not its process's end: only the latter frees memory.

extension LeaseBroker {
  /// How many connections are accepted before those that there are get their turn.
  private static let accepts = 8
  /// For how long calls of one connection after its first are begun before the next one in the line
  /// gets its turn, and for how long all of the line before those are looked at who just came. Some
  /// calls take longer by themselves: as long as there are leases or devices.
  private static let turnTime = Duration.microseconds(200)
  private static let backlogTime = Duration.milliseconds(1)

  /// Accepts connections from `socket` once the broker runs.
  public func listen(on socket: consuming ListeningSocket) throws(SystemError) {
    let watch = try loop.add(socket.descriptor, .readable) { [unowned self] _ in acceptWaiting() }
    listener = Listener(socket: socket, watch: watch)
  }

  // MARK: Coming

  private func acceptWaiting() {
    guard let socket = listener?.socket.descriptor else { return }
    for _ in 0..<Self.accepts {
      let result = gl_accept(socket)
      switch -result {
      case ...0: welcome(Descriptor(owning: result))
      case EAGAIN: return
      // No descriptors or memory left. The connection stays in the queue and the socket stays
      // readable, so without a pause the loop would spin.
      default: return pauseAccepting(because: Errno(rawValue: -result))
      }
    }
  }

  /// Lets connections wait in the kernel's queue until one of ours ends, a second at most.
  private func pauseAccepting(because errno: Errno) {
    guard let watch = listener?.watch else { return }
    logger.warning("not accepting for now", metadata: ["reason": "\(errno)"])
    loop.change(watch, to: [])
    listener?.isPaused = true
    guard listener?.isResumeTimed == false else { return }
    listener?.isResumeTimed = true
    loop.after(.seconds(1)) { [unowned self] in
      listener?.isResumeTimed = false
      resumeAccepting()
    }
  }

  /// Accepts again after a pause.
  func resumeAccepting() {
    guard let watch = listener?.watch, listener?.isPaused == true else { return }
    listener?.isPaused = false
    loop.change(watch, to: .readable)
  }

  private func welcome(_ connection: consuming Descriptor) {
    guard let user = Peer.user(of: connection.rawValue) else { return }
    // First, as it is all that a crowd costs.
    if let excess = connectionExcess(of: user) {
      return turnAway(connection, of: user, because: excess)
    }
    do throws(SystemError) {
      let peer = try Peer(of: connection.rawValue)
      let isAdmin = isAdmin(user, peer.groups)
      let process = try adopt(peer)
      let session = Session(
        id: Session.ID(rawValue: nextNumber()), name: randomName(), socket: connection,
        process: process, user: user, isAdmin: isAdmin)
      process.sessions.insert(session.id)
      sessions[session.id] = session
      connectionCounts[user, default: 0] += 1
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
      log(.notice, "connection refused", of: user, ["uid": "\(user)", "cause": "\(error)"])
      if error.errno == .tooManyOpenFiles || error.errno == .tooManyOpenFilesInSystem {
        pauseAccepting(because: error.errno)
      }
    }
  }

  private func isAdmin(_ user: UID, _ groups: [gid_t]) -> Bool {
    user == .root || user.rawValue == geteuid()
      || configuration.adminGroup.map(groups.contains) ?? false
  }

  /// The one object for a peer's process, however often it connects. Two living processes cannot
  /// have the same number; a dead one whose number was reused is buried first.
  private func adopt(_ peer: consuming Peer) throws(SystemError) -> ClientProcess {
    if peer.pid.rawValue > 0, let known = processes.values.first(where: { $0.pid == peer.pid }) {
      if !known.hasDied { return known }
      bury(known)
    }
    let process = ClientProcess(id: ClientProcess.ID(rawValue: nextNumber()), peer: peer)
    process.watch = try loop.add(process.deathDescriptor, .readable) { [unowned self] _ in
      bury(process)
    }
    processes[process.id] = process
    return process
  }

  // MARK: Serving

  // Who makes one call at a time is answered when it comes. Who makes more at a time gets in line with
  // the rest of them, and as long as the line is, it keeps nobody waiting who just came.

  /// A connection is ready for something.
  private func serve(_ session: Session, _ readiness: EventLoop.Readiness) {
    guard readiness.isDisjoint(with: [.hangUp, .failed]) else { return drain(session) }
    do throws(SystemError) {
      if readiness.contains(.writable) { try session.flush() }
      if readiness.contains(.readable) { _ = try session.receive() }
      proceed(session)
    } catch {
      drain(session)
    }
  }

  /// Takes a call of a connection, or several for as long as `time`, and sends what it is to hear.
  func proceed(_ session: Session, for time: Duration = .zero) {
    takeCalls(of: session, for: time)
    guard sessions[session.id] != nil, let watch = session.watch else { return }
    do throws(SystemError) {
      try session.flush()
    } catch {
      return drain(session)
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
        if let frame = try session.nextFrame() { try answer(frame, of: session) }
        session.hasUntakenCalls = try session.hasFrame()
        guard session.hasUntakenCalls, .now < end else { return }
      } catch {
        log(.notice, "malformed", of: session.user, session.metadata(cause: "\(error)"))
        // What was answered before is still owed.
        try? session.flush()
        return close(session)
      }
      guard sessions[session.id] != nil else { return }
    }
  }

  /// Ends a connection whose peer has gone. What it said before is done, but hears no answer.
  private func drain(_ session: Session, for time: Duration = .zero) {
    session.hangUp()
    unpark(session)
    do throws(SystemError) {
      takeCalls(of: session, for: time)
      guard sessions[session.id] != nil else { return }
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

  // The line and timers know a session by its identity: its socket is open as long as the object lives.

  /// Goes on with a connection when those who are in line have had their turn.
  func schedule(_ session: Session) {
    guard !session.isScheduled else { return }
    session.isScheduled = true
    backlog.append(session.id)
    if backlog.count == 1 { loop.after(.zero) { [unowned self] in serveBacklog() } }
  }

  private func serveBacklog() {
    let end = ContinuousClock.now + Self.backlogTime
    var served = 0
    repeat {
      let session = sessions[backlog[served]]
      served += 1
      guard let session else { continue }
      session.isScheduled = false
      if session.isHungUp {
        drain(session, for: Self.turnTime)
      } else {
        proceed(session, for: Self.turnTime)
      }
    } while served < backlog.count && .now < end
    backlog.removeFirst(served)
    if !backlog.isEmpty { loop.after(.zero) { [unowned self] in serveBacklog() } }
  }

  /// Drops a connection that has not read a byte in ``Configuration/stallLimit``. Its memory stays
  /// its process's.
  private func watchForStall(_ session: Session) {
    guard !session.isStallWatched else { return }
    session.isStallWatched = true
    let sent = session.output.sentByteCount
    loop.after(configuration.stallLimit) { [unowned self, id = session.id] in
      guard let session = sessions[id] else { return }
      session.isStallWatched = false
      guard !session.output.isEmpty else { return }
      guard session.output.sentByteCount == sent else { return watchForStall(session) }
      log(.notice, "dropped: it does not read", of: session.user, session.metadata)
      close(session)
    }
  }

  // MARK: Going

  /// Ends a connection. Its leases stay its process's until that dies.
  func close(_ session: Session) {
    guard sessions.removeValue(forKey: session.id) != nil else { return }
    let others = (connectionCounts[session.user] ?? 0) - 1
    connectionCounts[session.user] = others > 0 ? others : nil
    if let watch = session.watch { loop.remove(watch) }
    session.watch = nil
    monitors[session.id] = nil
    unpark(session)
    session.process.sessions.remove(session.id)
    for lease in leases.held(where: { $0.session == session.id && $0.state == .leased }) {
      leases.setState(.orphaned, of: lease.id)
      log(.info, "orphaned", of: lease.user, metadata(of: lease))
    }
    logger.debug("disconnect", metadata: session.metadata)
    forgetIfIdle(session.process)
    resumeAccepting()
  }

  /// Forgets a process that has neither a connection nor a way to reach memory.
  func forgetIfIdle(_ process: ClientProcess) {
    guard process.sessions.isEmpty, !regions.contains(where: { $0.holders[process.id] != nil })
    else { return }
    forget(process)
  }

  func forget(_ process: ClientProcess) {
    if let watch = process.watch { loop.remove(watch) }
    process.watch = nil
    processes[process.id] = nil
  }
}
