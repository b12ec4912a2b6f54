import BrokerProtocol
import DeviceMemory
import GenPool
import LinuxSystem

/// The scrubber, its thread, and the jobs that it was given: from dirty memory to finished slices.
final class ScrubQueue {
  private let scrubber: Scrubber
  private let thread: WorkerThread
  /// The bytes that are zeroed at a time.
  private let slice: ByteCount
  private var lastJob = 0

  /// Starts the scrubber's thread. Calls `handler` on the loop with slices that have been finished.
  init(
    on loop: EventLoop, slice: ByteCount, handler: @escaping ([Scrubber.FinishedSlice]) -> Void
  ) throws(SystemError) {
    self.slice = slice
    scrubber = try Scrubber()
    thread = try WorkerThread { [scrubber] in scrubber.run() }
    _ = try loop.add(scrubber.finishedEvent, .readable) { [scrubber] _ in
      handler(scrubber.takeFinished())
    }
  }

  deinit {
    // The thread is joined when its property goes, and holds no region then.
    scrubber.stop()
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

  /// Hands a slice to the scrubber again, as a part of its job.
  func scrubAgain(_ slice: Scrubber.FinishedSlice, of region: AttachedRegion) {
    submit(slice.job, region, at: slice.offset, slice.size)
  }

  private func submit(
    _ job: Scrubber.JobID, _ region: AttachedRegion, at offset: ByteCount, _ size: ByteCount
  ) {
    let granule = region.granule.byteCount
    scrubber.submit(
      Scrubber.Job(
        id: job, memory: region.memory, offset: offset, size: size,
        slice: max(slice.roundedDown(to: granule), granule), since: region.moment))
  }
}
