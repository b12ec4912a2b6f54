import Glibc
import LinuxSystem
import Synchronization
import SystemPackage

/// Writes the log on a thread of its own, so that a reader that stalls (a pipe, a terminal, the
/// journal) stops that thread and no other.
///
/// Lines keep their order. The most that waits is ``capacity``, and as much is being written; what
/// comes beyond is dropped and counted, and the count is written in its place.
final class LogWriter: Sendable {
  /// The most bytes that wait to be written.
  static let capacity = 1 << 20
  /// The interval after which a descriptor that refused lines is tried again, if no line comes.
  private static let retryInterval = Duration.seconds(1)
  /// The time between two looks for lines after the last one, before the thread sleeps. As long as
  /// lines keep coming no other thread has to wake it, which costs more than the line.
  private static let lookInterval = Duration.milliseconds(2)
  /// The number of looks in vain after which it sleeps.
  private static let looks = 5

  private struct State {
    var queue: LogQueue
    /// Nil before the thread has started.
    var events: Events?
    /// Whether the thread looks for lines only when it is woken.
    var isAsleep = false
    var isFinishing = false
    /// Whether the thread has written everything and ended.
    var hasEnded = false
  }

  private final class Events: Sendable {
    /// Raised when lines wait, and at the end.
    let queued: EventCounter
    /// Raised when the thread ends.
    let ended: EventCounter

    init() throws(SystemError) {
      queued = try attempt("create", "an event", try EventCounter())
      ended = try attempt("create", "an event", try EventCounter())
    }
  }

  private let state: Mutex<State>
  private let descriptor: CInt
  private let form: EventLogHandler.Form

  /// A writer to `descriptor`, whose lines wait until ``start()``.
  init(to descriptor: CInt = STDERR_FILENO, form: EventLogHandler.Form, capacity: Int = capacity) {
    state = Mutex(State(queue: LogQueue(capacity: capacity)))
    self.descriptor = descriptor
    self.form = form
  }

  /// Starts the thread, which receives no signals; does nothing if it has started. Before it, the
  /// standard streams have to be open: it opens descriptors.
  func start() throws(SystemError) {
    guard state.withLock({ $0.events == nil }) else { return }
    let events = try Events()
    state.withLock { $0.events = events }
    do throws(Errno) {
      try startDetachedThread { [self] in write(events) }
    } catch {
      state.withLock { $0.events = nil }
      throw SystemError(operation: "start", subject: "the log's thread", errno: error)
    }
  }

  /// Writes a line, which has its end, after those before. Never waits for it.
  func write(_ line: String) { append(line) }

  /// Writes what waits and then `last`, and ends the thread. Returns when that is done, or after
  /// `timeout`: a reader that stalls does not keep the process.
  func finish(_ last: String? = nil, within timeout: Duration = .seconds(1)) {
    if let last { append(last, isUrgent: true) }
    let events = state.withLock { state in
      state.isFinishing = true
      return state.events
    }
    guard let events else { return writeAll() }
    events.queued.raise()
    let deadline = ContinuousClock.now + timeout
    while !state.withLock({ $0.hasEnded }) {
      let rest = deadline - .now
      guard rest > .zero else { return }
      wait(for: events.ended.rawValue, rest)
    }
  }

  private func append(_ line: String, isUrgent: Bool = false) {
    let events = state.withLock { state in
      let wasEmpty = state.queue.isEmpty
      state.queue.append(line, isUrgent: isUrgent)
      return wasEmpty && state.isAsleep ? state.events : nil
    }
    events?.queued.raise()
  }

  // MARK: The thread

  private func write(_ events: Events) {
    var output = LogOutput(descriptor, form)
    var looks = 0
    while true {
      let (batch, isFinishing) = state.withLock { state in
        let batch = state.queue.take()
        // In one with the look: a line that comes after it wakes.
        state.isAsleep = batch.isEmpty && looks == 0
        return (batch, state.isFinishing)
      }
      write(batch, to: &output)
      guard batch.isEmpty else {
        looks = Self.looks
        continue
      }
      output.report()
      guard !isFinishing else { break }
      if looks > 0 {
        looks -= 1
        events.queued.wait(limit: Self.lookInterval)
      } else {
        events.queued.wait(limit: output.owesReport ? Self.retryInterval : nil)
      }
    }
    state.withLock { $0.hasEnded = true }
    events.ended.raise()
  }

  private func write(_ batch: LogQueue.Batch, to output: inout LogOutput) {
    for line in batch.lines { output.write(line) }
    if batch.dropped > 0 { output.reportDropped(batch.dropped) }
  }

  /// Without a thread: one that could not be started.
  private func writeAll() {
    var output = LogOutput(descriptor, form)
    write(state.withLock { $0.queue.take() }, to: &output)
  }
}

/// Waits until `descriptor` is readable, or for `timeout`; nil is without end.
private func wait(for descriptor: CInt, _ timeout: Duration?) {
  var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
  let milliseconds = timeout.map { CInt(clamping: $0 / .milliseconds(1), atLeast: 1) } ?? -1
  _ = unsafe poll(&request, 1, milliseconds)
}

extension CInt {
  fileprivate init(clamping number: Double, atLeast least: CInt) {
    self = Swift.max(least, CInt(Swift.min(number, Double(CInt.max))))
  }
}

/// Starts a thread that nothing joins, with all signals blocked.
private func startDetachedThread(_ body: @escaping @Sendable () -> Void) throws(Errno) {
  var (all, before) = (sigset_t(), sigset_t())
  unsafe sigfillset(&all)
  unsafe pthread_sigmask(SIG_SETMASK, &all, &before)
  defer { unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }
  pthread_detach(try startThread(body))
}
