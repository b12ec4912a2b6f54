import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import Synchronization

/// Gives memory back and opens it anew, on a thread of its own: resetting a device takes up to a
/// quarter of a second.
///
/// The kernel opens a VFIO group only when nothing of it is left in any process. So what opens says
/// that nothing that was lent before reaches the memory, and EBUSY that something does.
final class ReopenQueue {
  /// A region's memory, opened anew.
  struct Reopened: Sendable {
    let lender: (any DescriptorLender)?
    /// ``WitnessAnswer/unknown`` where another pool had the device's group open meanwhile.
    let witnessAtOpening: WitnessAnswer
  }

  /// A reopening that is over. Its memory is the region's again, or closed.
  struct Finished: Sendable {
    let region: RegionID
    let memory: RegionMemory
    let result: Result<Reopened, BrokerError>
  }

  private struct Job: Sendable {
    let region: RegionID
    let memory: RegionMemory
    let shape: Shape
    let open: DeviceProvider.Opening
  }

  /// The facts of the memory that the region keeps, and that must be as they were.
  struct Shape: Equatable, Sendable {
    let size: ByteCount
    let mapOffset: ByteCount
    let physical: PhysicalAddress?
    let bus: BusAddress?
  }

  /// The thread's part of it.
  private final class Worker: Sendable {
    private struct Work {
      var queue: [Job] = []
      var finished: [Finished] = []
      var isStopped = false
    }

    private let work = Mutex(Work())
    private let workEvent: EventCounter
    let finishedEvent: EventCounter

    init() throws(SystemError) {
      workEvent = try attempt("create", "an event", try EventCounter())
      finishedEvent = try attempt("create", "an event", try EventCounter())
    }

    func submit(_ job: Job) {
      work.withLock { $0.queue.append(job) }
      workEvent.raise()
    }

    func takeFinished() -> [Finished] {
      finishedEvent.clear()
      return work.withLock { work in
        defer { work.finished = [] }
        return work.finished
      }
    }

    func stop() {
      work.withLock { $0.isStopped = true }
      workEvent.raise()
    }

    func run() {
      while true {
        let (job, isStopped) = work.withLock { work in
          (work.queue.isEmpty ? nil : work.queue.removeFirst(), work.isStopped)
        }
        if isStopped { return }
        guard let job else {
          workEvent.wait()
          continue
        }
        let finished = Finished(region: job.region, memory: job.memory, result: Self.reopen(job))
        work.withLock { $0.finished.append(finished) }
        finishedEvent.raise()
      }
    }

    private static func reopen(_ job: Job) -> Result<Reopened, BrokerError> {
      job.memory.close()
      do throws(BrokerError) {
        let open = try job.open()
        let shape = Shape(of: open.range)
        guard shape == job.shape else {
          throw .deviceError(
            operation: "open", subject: open.range.label, errno: ESTALE,
            cause: "it is not where it was, or not as long")
        }
        let reopened = Reopened(
          lender: open.range.lender, witnessAtOpening: open.range.witnessAtOpening)
        do throws(SystemError) {
          job.memory.reopen(try Region(mapping: open.intoRange()))
        } catch {
          throw .system(error)
        }
        return .success(reopened)
      } catch {
        return .failure(error)
      }
    }
  }

  private let worker: Worker
  private let thread: WorkerThread

  /// Starts the thread. Calls `handler` on the loop with reopenings that are over.
  init(
    on loop: EventLoop, handler: @escaping ([Finished]) -> Void
  ) throws(SystemError) {
    worker = try Worker()
    thread = try WorkerThread { [worker] in worker.run() }
    _ = try loop.add(worker.finishedEvent.rawValue, .readable) { [worker] _ in
      handler(worker.takeFinished())
    }
  }

  deinit {
    // The thread is joined when its property goes.
    worker.stop()
  }

  /// Closes a region's memory and opens it anew by `open`.
  func reopen(_ region: AttachedRegion, _ open: @escaping DeviceProvider.Opening) {
    worker.submit(
      Job(
        region: region.id, memory: region.memory,
        shape: Shape(
          size: region.size, mapOffset: region.mapOffset, physical: region.physical,
          bus: region.bus), open: open))
  }
}

extension ReopenQueue.Shape {
  init(of range: borrowing DeviceRange) {
    size = range.size
    mapOffset = range.mapOffset
    physical = range.physical
    bus = range.bus
  }
}
