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
    let request = LeaseRequest(
      parameters, session: session.id, process: session.process.id, user: session.user,
      account: session.account, pid: session.process.pid, isAdmin: session.isAdmin,
      sessionLabel: session.label, groups: { session.groups })
    if let lease = try leases.repeated(request) { return try grant(lease) }
    try parameters.check()

    let time = parameters.wait?.duration
    switch leases.decide(
      request, isPatient: time.map { $0 > .zero } ?? false, over: regions, lookAgain: lookAgain)
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
      scheduleRetry()
    }
    leases.park(request, for: wait, timeout == nil ? .scrubbing : .unexpired, pending)
    logger.debug("waits", metadata: session.metadata(cause: wait.failure.description))
    regions.watchAwaited(by: wait.pools.keys)
  }

  /// The time for which Acquires are decided on anew before others have their turn.
  private static let retryTime = Duration.milliseconds(1)

  /// Decides anew on Acquires that wait for what changed. Called when memory came free or will not
  /// any more, and when the time of one is up.
  func retry() {
    guard leases.hasChanges else { return }
    let end = ContinuousClock.now + Self.retryTime
    let settled = leases.retry(
      over: regions, while: { .now < end }, isThere: server.isThere, lookAgain: lookAgain,
      erase: erase)
    if leases.hasChanges { scheduleRetry() }
    for (pending, result) in settled {
      server.answer(pending.waiting.call, of: pending.waiting.session) { () throws(BrokerError) in
        try handOut(result.get())
      }
      pending.waiting.end()
    }
    for (pending, _) in settled { server.proceed(pending.waiting.session) }
  }

  /// Decides anew in the loop's next round.
  func scheduleRetry() {
    guard !isRetryScheduled, leases.hasChanges else { return }
    isRetryScheduled = true
    loop.afterThis { [unowned self] in
      isRetryScheduled = false
      retry()
    }
  }

  /// Takes a session's Acquire out of the line, unanswered: its connection ends.
  func endWait(of session: Session) {
    guard session.isWaiting else { return }
    leases.unpark(session.id)?.waiting.end()
    session.endWait()
    // Those behind it may be first now.
    scheduleRetry()
  }

  private func lookAgain(_ id: RegionID) { regions[id].map(regions.followUp) }

  private func erase(_ id: RegionID) { regions[id].map(regions.erase) }

  /// The reply that hands a new lease out. If there is none, nor is the lease.
  private func handOut(_ lease: LeaseTable.Entry) throws(BrokerError) -> OutputQueue.Message {
    auditor.log("lease", of: lease.account, regions.metadata(of: lease))
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
    // The lease may have been revoked since the decision.
    let present = leases[lease.id] ?? lease
    var reply = try OutputQueue.Message(
      Broker1.Acquire.Reply(lease: region.describe(present), descriptor: 0))
    reply.descriptor = try region.lendDescriptor(for: lease)
    return reply
  }
}
