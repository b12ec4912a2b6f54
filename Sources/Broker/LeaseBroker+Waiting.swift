import BrokerProtocol
import GenPool
import LinuxSystem
import Logging

// Who waits for memory, and for how long: first come, first served.

/// An Acquire that waits for memory.
struct ParkedAcquire {
  let session: Session
  let call: ReceivedCall
  let request: Broker1.Acquire.Parameters
  /// What it waited for when it was last looked at.
  var wait: Wait
  /// Until when; nil for as long as memory is being scrubbed for it.
  let deadline: ContinuousClock.Instant?
  /// Looks at it then.
  let timer: EventLoop.Timer?

  /// Whether it waits until others end their leases, too.
  var isPatient: Bool { deadline.map { .now < $0 } ?? false }
  /// Whether it is not to wait any more.
  var isOverdue: Bool { deadline.map { .now >= $0 } ?? false }
}

/// What an Acquire that cannot be met waits for, and what it is told once it waits no longer.
struct Wait {
  /// Whether what it waits for comes by itself, as soon as memory has been scrubbed. If not, somebody
  /// has to end a lease, which may never be.
  enum Term {
    case brief
    case lasting
  }

  /// The pools that may serve it.
  var pools: [AttachedRegion.ID: Term] = [:]
  /// It waits for its user's quota.
  var quota: Term?
  let failure: CallFailure
}

/// Those who wait ahead of an Acquire. Nobody gets memory of a pool that somebody ahead waits for,
/// nor anything of a quota that somebody ahead waits for.
struct Line {
  private(set) var pools: [AttachedRegion.ID: Wait.Term] = [:]
  private(set) var users: [UID: Wait.Term] = [:]

  mutating func join(_ wait: Wait, _ user: UID) {
    // The longest wait counts: it is what those behind will wait for.
    pools.merge(wait.pools) { $0 == .lasting ? $0 : $1 }
    if let term = wait.quota { users.merge([user: term]) { $0 == .lasting ? $0 : $1 } }
  }
}

extension LeaseBroker {
  /// All who wait now.
  var line: Line {
    parked.reduce(into: Line()) { $0.join($1.wait, $1.session.user) }
  }

  /// Lets an Acquire wait. The session takes no further call until it is answered.
  func park(
    _ call: ReceivedCall, of session: Session, _ request: Broker1.Acquire.Parameters, for wait: Wait
  ) {
    let time = request.wait?.duration
    session.isParked = true
    parked.append(
      ParkedAcquire(
        session: session, call: call, request: request, wait: wait,
        deadline: time.map { .now + $0 },
        timer: time.map { loop.after($0) { [unowned self] in retryParked() } }))
    logger.debug("parked", metadata: session.metadata(cause: wait.failure.description))
    watchAwaited()
  }

  /// Looks at all who wait, first come first. Called when memory came free or will not any more, and
  /// when somebody's time is up.
  func retryParked() {
    var line = Line()
    var stillParked: [ParkedAcquire] = []
    var settled: [Session] = []
    let waiting = parked
    // Nobody is in the list meanwhile, so that what is settled here cannot be settled twice.
    parked = []
    for var acquire in waiting {
      let session = acquire.session
      guard sessions[session.id] != nil else { continue }
      do throws(CallFailure) {
        switch attempt(
          acquire.request, for: session, behind: line, isPatient: acquire.isPatient)
        {
        case .mustWait(let wait):
          if acquire.isOverdue { throw wait.failure }
          line.join(wait, session.user)
          acquire.wait = wait
          stillParked.append(acquire)
          continue
        case .refused(let failure): throw failure
        case .leased(let lease):
          let message = try handOut(lease)
          if !acquire.call.oneway { session.send(message) }
        }
      } catch {
        refuse(acquire.call, of: session, because: error)
      }
      settle(acquire)
      settled.append(session)
    }
    parked = stillParked
    watchAwaited()
    for session in settled where sessions[session.id] != nil { proceed(session) }
  }

  /// Takes a session's Acquire out of the list, unanswered: its connection ends.
  func unpark(_ session: Session) {
    guard session.isParked else { return }
    for acquire in parked where acquire.session === session { settle(acquire) }
    parked.removeAll { $0.session === session }
    session.isParked = false
    // Those behind it may be first now.
    scheduleRetry()
  }

  private func settle(_ acquire: ParkedAcquire) {
    acquire.session.isParked = false
    if let timer = acquire.timer { loop.cancel(timer) }
  }

  /// Looks at all who wait in the loop's next round.
  func scheduleRetry() {
    loop.after(.zero) { [unowned self] in retryParked() }
  }
}
