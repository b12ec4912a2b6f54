import LinuxSystem

/// One thread that waits for many descriptors and for time to pass, and calls who asked for it.
///
/// Timers fire between any two other handlers, so that no number of ready descriptors delays a
/// heartbeat. Only a single handler can, so each is short.
///
/// Invariant: a watch's handler is never called once the watch is removed, even if the kernel
/// reported it in the same batch: tokens are never used twice.
final class EventLoop {
  /// Readiness for input or output.
  typealias Readiness = Epoll.Readiness

  /// Names a watch.
  struct Watch: Hashable {
    fileprivate let token: UInt64
  }

  private struct Watched {
    let descriptor: CInt
    var interest: Readiness
    let handler: (Readiness) -> Void
  }

  /// Names a call that is to come.
  struct Timer: Hashable {
    fileprivate let token: UInt64
  }

  private struct Pending {
    let timer: Timer
    let deadline: ContinuousClock.Instant
    let handler: () -> Void
  }

  private let epoll: Epoll
  private var watched: [UInt64: Watched] = [:]
  private var lastToken: UInt64 = 0
  /// The next one last, of two at the same moment the earlier made: what is due is taken off the
  /// end.
  private var timers: [Pending] = []
  /// Calls that come after all that is ready now.
  private var deferred: [() -> Void] = []
  private var isStopped = false

  /// A long piece of work. A function by itself would grow with each turn in a generic queue: Swift
  /// wraps it anew going in and out.
  private struct Chore {
    let step: () -> Bool
  }

  private var chores = Queue<Chore>()
  /// The number of the present round: that of times that ready descriptors were asked for.
  private(set) var round = 0

  /// The time for which long work goes on before what is ready gets its turn.
  private static let choreTime = Duration.milliseconds(1)

  init() throws(SystemError) {
    epoll = try attempt("create", "epoll", try Epoll())
  }

  /// Calls `handler` whenever `descriptor` is ready for something in `interest`. The descriptor
  /// must stay open until ``remove(_:)``.
  func add(
    _ descriptor: CInt, _ interest: Readiness, handler: @escaping (Readiness) -> Void
  ) throws(SystemError) -> Watch {
    lastToken += 1
    try attempt(
      "watch", "descriptor \(descriptor)",
      try epoll.add(descriptor, interest, token: lastToken))
    watched[lastToken] = Watched(descriptor: descriptor, interest: interest, handler: handler)
    return Watch(token: lastToken)
  }

  /// Calls `handler` whenever `descriptor` has something to read, until it returns false. The
  /// descriptor must stay open until then.
  func add(_ descriptor: CInt, while handler: @escaping () -> Bool) throws(SystemError) {
    var watch: Watch?
    watch = try add(descriptor, .readable) { [unowned self] _ in
      if !handler(), let watch { remove(watch) }
    }
  }

  /// Asks for something else from now on. Costs a system call only if it differs.
  func change(_ watch: Watch, to interest: Readiness) {
    guard let present = watched[watch.token], present.interest != interest else { return }
    epoll.change(present.descriptor, to: interest, token: watch.token)
    watched[watch.token]?.interest = interest
  }

  /// Ends a watch. Call it before the descriptor is closed.
  func remove(_ watch: Watch) {
    guard let past = watched.removeValue(forKey: watch.token) else { return }
    epoll.remove(past.descriptor)
  }

  /// Calls `handler` once, after what is ready now. O(1).
  func afterThis(_ handler: @escaping () -> Void) { deferred.append(handler) }

  /// Calls `step` until it returns false, after what is ready now: steps of all long work in turn,
  /// for a millisecond at a time.
  func inSlices(_ step: @escaping () -> Bool) { chores.append(Chore(step: step)) }

  /// Calls `handler` once, when `delay` has passed. O(1) for one that comes next, else O(n).
  @discardableResult
  func after(_ delay: Duration, handler: @escaping () -> Void) -> Timer {
    lastToken += 1
    let pending = Pending(
      timer: Timer(token: lastToken), deadline: .now + delay, handler: handler)
    timers.insert(pending, at: Self.place(of: pending.deadline, in: timers))
    return pending.timer
  }

  /// Calls `action` every `interval` while ``run()`` serves: never when the loop hangs.
  func every(_ interval: Duration, do action: @escaping () -> Void) {
    after(interval) { [unowned self] in
      action()
      every(interval, do: action)
    }
  }

  /// The first place whose timer is due at `deadline` or before.
  private static func place(of deadline: ContinuousClock.Instant, in timers: [Pending]) -> Int {
    var (start, end) = (timers.startIndex, timers.endIndex)
    while start < end {
      let middle = start + (end - start) / 2
      if timers[middle].deadline > deadline { start = middle + 1 } else { end = middle }
    }
    return start
  }

  /// Makes nothing of a call that is to come. One that came already is no matter.
  func cancel(_ timer: Timer) {
    timers.removeAll { $0.timer == timer }
  }

  /// Makes ``run()`` return after the present event.
  func stop() {
    isStopped = true
  }

  /// Serves events until ``stop()``.
  func run() throws(SystemError) {
    while !isStopped {
      try serveBatch()
      fireTimers()
      // Those that they add are the next round's.
      let due = deferred
      deferred = []
      for handler in due where !isStopped {
        handler()
        fireTimers()
      }
      doChores()
    }
  }

  private func serveBatch() throws(SystemError) {
    let wait = millisecondsToNextTimer
    round += 1
    let events = try attempt("wait for", "events", try epoll.wait(milliseconds: wait))
    for event in events where !isStopped {
      watched[event.token]?.handler(event.readiness)
      fireTimers()
    }
  }

  private func doChores() {
    let end = ContinuousClock.now + Self.choreTime
    while !isStopped, let chore = chores.popFirst() {
      if chore.step() { chores.append(chore) }
      fireTimers()
      if .now >= end { return }
    }
  }

  private var millisecondsToNextTimer: CInt {
    guard deferred.isEmpty, chores.isEmpty else { return 0 }
    guard let next = timers.last else { return -1 }
    let remaining = ContinuousClock.now.duration(to: next.deadline)
    guard remaining > .zero else { return 0 }
    // Rounded up, or the loop would spin through the last millisecond.
    return CInt(clamping: Int64((remaining / .milliseconds(1)).rounded(.up)))
  }

  private func fireTimers() {
    guard let next = timers.last, next.deadline <= .now else { return }
    // Those that they add are for the next time, and those that they cancel are not called.
    let (now, last) = (ContinuousClock.now, lastToken)
    while !isStopped, let due = timers.last, due.deadline <= now, due.timer.token <= last {
      timers.removeLast()
      due.handler()
    }
  }
}
