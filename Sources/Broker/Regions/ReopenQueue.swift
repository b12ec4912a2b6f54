import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem

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

  private let worker: Worker<Job, Finished>

  /// Starts the thread. Calls `handler` on the loop with each reopening that is over.
  init(on loop: EventLoop, handler: @escaping (Finished) -> Void) throws(SystemError) {
    worker = try Worker(
      on: loop,
      body: { job in
        (Finished(region: job.region, memory: job.memory, result: Self.reopen(job)), nil)
      }, handler: handler)
  }

  private static func reopen(_ job: Job) -> Result<Reopened, BrokerError> {
    job.memory.close()
    do throws(BrokerError) {
      let open = try job.open()
      guard Shape(of: open.range) == job.shape else {
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
