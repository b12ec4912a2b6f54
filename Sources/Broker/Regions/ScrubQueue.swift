import BrokerProtocol
import DeviceMemory
import GenPool
import LinuxSystem

/// The scrubber's thread, and the jobs that it was given: from dirty memory to finished slices.
final class ScrubQueue {
  private let worker: Worker<Scrubber.Job, Scrubber.FinishedSlice>
  /// The time that memory waits for more to be zeroed with it, so that a client that gives back and
  /// takes again is not slowed by a thread that wakes each time.
  private static let delay = Duration.milliseconds(1)
  /// The bytes that are zeroed at a time.
  private let slice: ByteCount
  private var lastJob = 0

  /// Starts the thread. Calls `handler` on the loop with each slice that has been finished.
  init(
    on loop: EventLoop, slice: ByteCount, handler: @escaping (Scrubber.FinishedSlice) -> Void
  ) throws(SystemError) {
    self.slice = slice
    worker = try Worker(on: loop, delay: Self.delay, body: Scrubber.scrub, handler: handler)
  }

  /// Hands a piece of a region's allocated memory to the scrubber. It comes back slice by slice.
  func scrub(
    _ region: AttachedRegion, at offset: ByteCount, _ size: ByteCount, lease: LeaseID? = nil
  ) {
    lastJob += 1
    let job = Scrubber.JobID(rawValue: lastJob)
    region.begin(job, size: size, lease: lease)
    submit(job, region, at: offset, size)
  }

  /// Zeroes what was handed over now: a client waits for it.
  func hurry() { worker.hurry() }

  /// Hands a slice to the scrubber again, as a part of its job.
  func scrubAgain(_ slice: Scrubber.FinishedSlice, of region: AttachedRegion) {
    submit(slice.job, region, at: slice.offset, slice.size)
  }

  private func submit(
    _ job: Scrubber.JobID, _ region: AttachedRegion, at offset: ByteCount, _ size: ByteCount
  ) {
    let granule = region.granule.byteCount
    worker.submit(
      Scrubber.Job(
        id: job, region: region.id, memory: region.memory, offset: offset, size: size,
        slice: max(slice.roundedDown(to: granule), granule), since: region.moment))
  }
}
