import BrokerLeases
import GenPool

/// The jobs of zeroing device memory, on a thread of its own, so that only those wait for a BAR who
/// want its memory.
///
/// Jobs are done slice by slice, each from its start upward, the jobs in turn: a small lease does
/// not wait for a large BAR.
enum Scrubber {
  /// Names a job.
  struct JobID: Hashable, Sendable {
    let rawValue: Int
  }

  /// A point in the life of a region, by what has happened to it that matters to a scrub.
  struct Moment: Sendable {
    /// How often the region was erased for another user. What was zeroed before the last time may
    /// have been written to since, by processes that are dead now.
    var erasures = 0
    /// The number of times that a process was given a descriptor or died with one, or that a
    /// truncated file was restored. If it is the same and there is no holder now, no process could
    /// write or truncate meanwhile.
    var holderChanges = 0
  }

  /// A range that is to be zeroed.
  struct Job: Sendable {
    let id: JobID
    let region: RegionID
    let memory: RegionMemory
    var offset: ByteCount
    var size: ByteCount
    /// A multiple of the granule: whole granules become free.
    let slice: ByteCount
    /// How things stood as the job was submitted.
    let since: Moment
  }

  /// A part of a job that is over.
  struct FinishedSlice: Sendable {
    let job: JobID
    let region: RegionID
    let offset: ByteCount
    let size: ByteCount
    let outcome: RegionMemory.Outcome
    /// As its job's.
    let since: Moment
  }

  /// Does a job's next slice. The rest goes to the end of the queue.
  @Sendable static func scrub(_ job: Job) -> (finished: FinishedSlice, rest: Job?) {
    let count = min(job.slice, job.size)
    let outcome = job.memory.scrub(at: job.offset, count: count)
    func finished(_ size: ByteCount) -> FinishedSlice {
      FinishedSlice(
        job: job.id, region: job.region, offset: job.offset, size: size, outcome: outcome,
        since: job.since)
    }
    switch outcome {
    // Memory that does not answer will not do so 4 KiB further on either: the rest of the job is a
    // part of the slice.
    case .failed, .closed: return (finished(job.size), nil)
    case .clean, .notZero:
      var rest = job
      rest.offset += count
      rest.size -= count
      return (finished(count), rest.size > .zero ? rest : nil)
    }
  }
}
