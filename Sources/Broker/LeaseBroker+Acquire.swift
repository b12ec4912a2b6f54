import BrokerLeases
import BrokerProtocol
import GenPool
import LinuxSystem
import Logging

// Acquire: the decision is the leases', the answer is ours.

/// The connection and the call of an Acquire that waits for memory.
struct ParkedCall {
  let session: Session
  let call: ReceivedCall
  /// Looks at it when its time is up; nil when it waits as long as memory is being scrubbed for it.
  let timer: EventLoop.Timer?
}

extension LeaseBroker {
  /// The reply to an Acquire; nil when it comes later.
  func acquire(
    _ call: ReceivedCall, for session: Session
  ) throws(BrokerError) -> OutputQueue.Message? {
    // No process could take the descriptor.
    guard !session.isHungUp else { return nil }
    let parameters: Broker1.Acquire.Parameters = try parameters(of: call)
    if let lease = try leases.repeated(parameters, of: session.id) { return try grant(lease) }
    try parameters.check()

    let time = parameters.wait?.duration
    let request = LeaseRequest(
      parameters, session: session.id, process: session.process.id, user: session.user,
      pid: session.process.pid)
    switch leases.decide(
      request, isPatient: time.map { $0 > .zero } ?? false, over: regions.all, lookAgain: lookAgain)
    {
    case .granted(let lease): return try handOut(lease)
    case .denied(let failure): throw failure
    case .mustWait(let wait):
      wait.erasures.forEach(erase)
      if time == .zero { throw wait.failure }
      park(call, of: session, request, for: wait)
      return nil
    }
  }

  /// Lets an Acquire wait. The session takes no further call until it is answered.
  private func park(
    _ call: ReceivedCall, of session: Session, _ request: LeaseRequest, for wait: Wait
  ) {
    session.isParked = true
    let timer = request.parameters.wait.map { time in
      loop.after(time.duration) { [unowned self, id = session.id] in
        leases.expire(id)
        retryParked()
      }
    }
    leases.park(
      request, for: wait, timer == nil ? .scrubbing : .unexpired,
      ParkedCall(session: session, call: call, timer: timer))
    logger.debug("parked", metadata: session.metadata(cause: wait.failure.description))
    regions.watchAwaited()
  }

  /// Decides anew on all Acquires that wait. Called when memory came free or will not any more, and
  /// when the time of one is up.
  func retryParked() {
    let settled = leases.retry(
      over: regions.all, isThere: server.isThere, lookAgain: lookAgain, erase: erase)
    for (pending, result) in settled {
      let (session, call) = (pending.waiting.session, pending.waiting.call)
      do throws(BrokerError) {
        let message = try handOut(try result.get())
        if !call.oneway { session.send(message) }
      } catch {
        refuse(call, of: session, because: error)
      }
      end(wait: pending.waiting)
    }
    regions.watchAwaited()
    for (pending, _) in settled { server.proceed(pending.waiting.session) }
  }

  /// Takes a session's Acquire out of the line, unanswered: its connection ends.
  func unpark(_ session: Session) {
    guard session.isParked else { return }
    for pending in leases.unpark(session.id) { end(wait: pending.waiting) }
    session.isParked = false
    // Those behind it may be first now.
    scheduleRetry()
  }

  private func end(wait: ParkedCall) {
    wait.session.isParked = false
    if let timer = wait.timer { loop.cancel(timer) }
  }

  /// Looks at all that wait in the loop's next round.
  func scheduleRetry() {
    loop.after(.zero) { [unowned self] in retryParked() }
  }

  private func lookAgain(_ id: RegionID) {
    regions[id].map(regions.followUp)
  }

  private func erase(_ id: RegionID) {
    regions[id].map(regions.erase)
  }

  /// The reply that hands a new lease out. If there is none, nor is the lease.
  private func handOut(_ lease: LeaseTable.Entry) throws(BrokerError) -> OutputQueue.Message {
    logger.notice("lease", metadata: metadata(of: lease))
    if let region = regions[lease.region], region.noticePressure() {
      publish(Broker1.Event(event: .pressure, pool: region.name, available: region.available))
    }
    do throws(BrokerError) {
      return try grant(lease)
    } catch {
      end(lease)
      throw error
    }
  }

  private func grant(_ lease: LeaseTable.Entry) throws(BrokerError) -> OutputQueue.Message {
    guard let region = regions[lease.region], let description = describe(lease)
    else { throw .noSuchLease(lease: lease.id) }
    return OutputQueue.Message(
      bytes: try encode(Broker1.Acquire.Reply(lease: description, descriptor: 0)),
      descriptor: try region.lendDescriptor(for: lease))
  }

  /// Counts what was refused for want of memory: by the pool that the caller is told of, and once,
  /// however often its allocator was asked.
  func count(_ failure: BrokerError) {
    switch failure {
    case .poolFull(let pool, _, _), .poolTooSmall(let pool, _, _):
      try? regions.named(pool).countFailure(isFragmented: false)
    case .poolFragmented(let pool, _, _, _, _, _):
      try? regions.named(pool).countFailure(isFragmented: true)
    default: break
    }
  }
}
