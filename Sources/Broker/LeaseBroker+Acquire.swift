import BrokerLeases
import BrokerProtocol
import Logging

// Acquire: the leases decide, the regions have the memory, the server answers.

extension LeaseBroker {
  /// The reply to an Acquire; nil when it comes later.
  func acquire(
    _ call: ReceivedCall, for session: Session
  ) throws(BrokerError) -> OutputQueue.Message? {
    // No process could take the descriptor.
    guard !session.isHungUp else { return nil }
    let parameters = try call.parameters(as: Broker1.Acquire.Parameters.self)
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
      queue(call, of: session, request, for: wait)
      return nil
    }
  }

  /// Lets an Acquire wait.
  private func queue(
    _ call: ReceivedCall, of session: Session, _ request: LeaseRequest, for wait: Wait
  ) {
    let timeout = request.parameters.wait?.duration
    let pending = PendingCall(call, of: session, on: loop, timeout: timeout) {
      [unowned self, id = session.id] in
      leases.expire(id)
      retry()
    }
    leases.park(request, for: wait, timeout == nil ? .scrubbing : .unexpired, pending)
    logger.debug("parked", metadata: session.metadata(cause: wait.failure.description))
    regions.watchAwaited()
  }

  /// Decides anew on all Acquires that wait. Called when memory came free or will not any more, and
  /// when the time of one is up.
  func retry() {
    let settled = leases.retry(
      over: regions.all, isThere: server.isThere, lookAgain: lookAgain, erase: erase)
    for (pending, result) in settled {
      server.answer(pending.waiting) { () throws(BrokerError) in try handOut(result.get()) }
      pending.waiting.end()
    }
    regions.watchAwaited()
    for (pending, _) in settled { server.proceed(pending.waiting.session) }
  }

  /// Decides anew on all that wait in the loop's next round.
  func scheduleRetry() {
    loop.after(.zero) { [unowned self] in retry() }
  }

  /// Takes a session's Acquire out of the line, unanswered: its connection ends.
  func endWait(of session: Session) {
    guard session.isWaiting else { return }
    for pending in leases.unpark(session.id) { pending.waiting.end() }
    session.endWait()
    // Those behind it may be first now.
    scheduleRetry()
  }

  private func lookAgain(_ id: RegionID) { regions[id].map(regions.followUp) }

  private func erase(_ id: RegionID) { regions[id].map(regions.erase) }

  /// The reply that hands a new lease out. If there is none, nor is the lease.
  private func handOut(_ lease: LeaseTable.Entry) throws(BrokerError) -> OutputQueue.Message {
    logger.notice("lease", metadata: regions.metadata(of: lease))
    if let region = regions[lease.region] {
      regions.restoreLength(of: region, sparing: lease.id)
      if region.noticePressure() { server.publish(region.pressure) }
    }
    do throws(BrokerError) {
      return try grant(lease)
    } catch {
      end(lease)
      throw error
    }
  }

  private func grant(_ lease: LeaseTable.Entry) throws(BrokerError) -> OutputQueue.Message {
    guard let region = regions[lease.region] else { throw .noSuchLease(lease: lease.id) }
    var reply = try OutputQueue.Message(
      Broker1.Acquire.Reply(lease: region.describe(lease), descriptor: 0))
    reply.descriptor = try region.lendDescriptor(for: lease)
    return reply
  }
}
