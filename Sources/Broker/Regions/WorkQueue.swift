import LinuxSystem
import Synchronization

/// Jobs on their way to a worker's thread, and results on their way back to the broker's.
///
/// Both are taken in the order in which they came. ``finishedEvent`` is raised with each result.
final class WorkQueue<Job: Sendable, Finished: Sendable>: Sendable {
  private struct Work {
    var jobs: [Job] = []
    var finished: [Finished] = []
    var isStopped = false
  }

  private let work = Mutex(Work())
  private let workEvent: EventCounter
  private let finishedCounter: EventCounter

  init() throws(SystemError) {
    workEvent = try attempt("create", "an event", try EventCounter())
    finishedCounter = try attempt("create", "an event", try EventCounter())
  }

  // MARK: The broker's thread

  /// Readable when there are results.
  var finishedEvent: CInt { finishedCounter.rawValue }

  /// Adds a job behind those there are.
  func submit(_ job: Job) {
    work.withLock { $0.jobs.append(job) }
    workEvent.raise()
  }

  /// Takes the results since the last call.
  func takeFinished() -> [Finished] {
    finishedCounter.clear()
    return work.withLock { work in
      defer { work.finished = [] }
      return work.finished
    }
  }

  /// Ends ``run(_:)``, after the job at hand.
  func stop() {
    work.withLock { $0.isStopped = true }
    workEvent.raise()
  }

  // MARK: The worker's thread

  /// The thread's life: does jobs by `body`, which returns the result and, for a job that is not
  /// done yet, the rest of it, which goes behind the others.
  func run(_ body: (Job) -> (finished: Finished, rest: Job?)) {
    while true {
      let (job, isStopped) = work.withLock { work in
        (work.jobs.isEmpty ? nil : work.jobs.removeFirst(), work.isStopped)
      }
      if isStopped { return }
      guard let job else {
        workEvent.wait()
        continue
      }
      let (finished, rest) = body(job)
      work.withLock { work in
        work.finished.append(finished)
        if let rest { work.jobs.append(rest) }
      }
      finishedCounter.raise()
    }
  }
}
