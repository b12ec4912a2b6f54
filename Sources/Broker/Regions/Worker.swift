import LinuxSystem
import Synchronization

/// A thread that does the jobs that the broker's thread gives it, one after the other, and hands
/// the results back on the loop, a millisecond's worth at a time.
///
/// Both are taken in the order in which they came. An event tells of each; one that was lost costs
/// a second: as long as there is work, the worker and the results are looked after by a timer too.
///
/// A worker with a delay looks for jobs by itself for a while after the last one. So jobs that keep
/// coming do not make the broker's thread wake another, which costs it more than the call: the
/// kernel takes a thread that wakes several others for one whose wake-ups are to be spread over
/// processors, and puts the broker on another one than the client that waits for it.
final class Worker<Job: Sendable, Finished: Sendable> {
  private let work: Work<Job, Finished>
  private let thread: WorkerThread
  private let loop: EventLoop
  private let handler: (Finished) -> Void
  /// Results that were not handed back yet.
  private var results = Queue<Finished>()
  private var isHandingBack = false
  private var isLookedAfter = false
  private var isWakingScheduled = false
  private let delay: Duration

  /// Starts the thread.
  /// - Parameters:
  ///   - delay: the time that the thread is let sleep when a job comes, to find others with it;
  ///     whole milliseconds.
  ///   - raise: raises an event, or does not, which costs a second.
  ///   - body: does a job: returns the result and, for one that is not done yet, the rest of it,
  ///     which goes behind the others. Called on the worker's thread.
  ///   - handler: called with each result on the loop.
  init(
    on loop: EventLoop, delay: Duration = .zero,
    raise: @escaping @Sendable (borrowing EventCounter) -> Void = { $0.raise() },
    body: @escaping @Sendable (Job) -> (finished: Finished, rest: Job?),
    handler: @escaping (Finished) -> Void
  ) throws(SystemError) {
    self.loop = loop
    self.delay = delay
    self.handler = handler
    work = try Work(raise: raise)
    thread = try WorkerThread { [work] in work.run(lookingEvery: delay, body) }
    _ = try loop.add(work.finishedEvent, .readable) { [unowned self] _ in takeResults() }
  }

  deinit {
    // The thread is joined when its property goes, after the job at hand.
    work.stop()
  }

  /// Adds a job behind those there are. The thread is woken, if it does not look by itself, after
  /// the handlers that are ready now, so that answers to clients go out first.
  func submit(_ job: Job) {
    let isAsleep = work.submit(job)
    lookAfter()
    guard isAsleep, !isWakingScheduled else { return }
    isWakingScheduled = true
    if delay > .zero {
      loop.after(delay) { [unowned self] in wakeAsScheduled() }
    } else {
      loop.afterThis { [unowned self] in wakeAsScheduled() }
    }
  }

  private func wakeAsScheduled() {
    if isWakingScheduled { wake() }
  }

  private func wake() {
    isWakingScheduled = false
    work.wake()
  }

  /// Ends the delay: a client waits for what was submitted.
  func hurry() {
    if work.hasJobs { wake() }
  }

  private func takeResults() {
    results.append(contentsOf: work.takeFinished())
    guard !isHandingBack, !results.isEmpty else { return }
    isHandingBack = true
    loop.inSlices { [unowned self] in
      if let result = results.popFirst() { handler(result) }
      isHandingBack = !results.isEmpty
      return isHandingBack
    }
  }

  private func lookAfter() {
    guard !isLookedAfter else { return }
    isLookedAfter = true
    loop.after(.seconds(1)) { [unowned self] in
      isLookedAfter = false
      guard !work.isIdle else { return }
      work.wake()
      takeResults()
      lookAfter()
    }
  }
}

/// Jobs and results, between two threads.
private final class Work<Job: Sendable, Finished: Sendable>: Sendable {
  private struct State {
    var jobs = Queue<Job>()
    var finished: [Finished] = []
    var isAtWork = false
    /// Whether the worker looks for jobs only when it is woken.
    var isAsleep = false
    var isStopped = false
  }

  /// The number of looks in vain after which a worker with a delay sleeps.
  private static var looks: Int { 20 }

  private let state = Mutex(State())
  private let jobEvent: EventCounter
  private let finishedCounter: EventCounter
  private let raise: @Sendable (borrowing EventCounter) -> Void

  init(raise: @escaping @Sendable (borrowing EventCounter) -> Void) throws(SystemError) {
    self.raise = raise
    jobEvent = try attempt("create", "an event", try EventCounter())
    finishedCounter = try attempt("create", "an event", try EventCounter())
  }

  // MARK: The broker's thread

  /// Readable when there are results.
  var finishedEvent: CInt { finishedCounter.rawValue }

  /// Whether there are neither jobs nor results.
  var isIdle: Bool {
    state.withLock { $0.jobs.isEmpty && $0.finished.isEmpty && !$0.isAtWork }
  }

  /// Whether a job was not begun.
  var hasJobs: Bool { state.withLock { !$0.jobs.isEmpty } }

  /// Adds a job. Returns whether the worker has to be woken for it.
  func submit(_ job: Job) -> Bool {
    state.withLock { state in
      state.jobs.append(job)
      return state.isAsleep
    }
  }

  /// Wakes the worker, if it sleeps.
  func wake() { raise(jobEvent) }

  /// Takes the results since the last call.
  func takeFinished() -> [Finished] {
    finishedCounter.clear()
    return state.withLock { state in
      defer { state.finished = [] }
      return state.finished
    }
  }

  /// Ends ``run(_:)``, after the job at hand.
  func stop() {
    state.withLock { $0.isStopped = true }
    jobEvent.raise()
  }

  // MARK: The worker's thread

  func run(lookingEvery delay: Duration, _ body: (Job) -> (finished: Finished, rest: Job?)) {
    // None before the first job, and none without a delay.
    var looks = 0
    while true {
      let (job, isStopped) = state.withLock { state in
        let job = state.isStopped ? nil : state.jobs.popFirst()
        state.isAtWork = job != nil
        // In one with the look: a job that comes after it wakes.
        state.isAsleep = job == nil && looks == 0
        return (job, state.isStopped)
      }
      if isStopped { return }
      guard let job else {
        jobEvent.wait(limit: looks == 0 ? nil : delay)
        looks = max(looks - 1, 0)
        continue
      }
      if delay > .zero { looks = Self.looks }
      let (finished, rest) = body(job)
      state.withLock { state in
        state.finished.append(finished)
        if let rest { state.jobs.append(rest) }
        state.isAtWork = false
      }
      raise(finishedCounter)
    }
  }
}
