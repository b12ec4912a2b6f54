import DeviceMemory
import GenPool
import LinuxSystem
import Logging

/// The calls of a pool on their way to a file.
struct Recording {
  let pool: RecordedAllocator<PhysicalSpace>
  let file: TraceFile
}

/// Writes what pools are asked to files: a failure from the field becomes a test.
final class PoolRecorder {
  /// The directory for a file of each pool; nil to record none. Pools that are there follow by
  /// ``record(_:)``.
  var directory: String?
  private let logger: Logger

  init(directory: String?, _ logger: Logger) {
    self.directory = directory
    self.logger = logger
  }

  /// Records a region's pool as the configuration says: begins a record, ends one, or has it go on
  /// in another directory. The old one ends only once the new one has begun. A pool that cannot be
  /// recorded is used without.
  func record(_ region: AttachedRegion) {
    guard let directory, !region.isRevoked else { return endRecord(of: region) }
    let old = region.recording?.file
    guard old?.isOpen != true || old?.directory != directory else {
      return region.record(in: region.recording)
    }
    do throws(SystemError) {
      let recording = try begin(recording: region, in: directory)
      endRecord(of: region)
      region.record(in: recording)
      logger.notice(
        "record", metadata: ["pool": "\(region.name)", "file": "\(recording.file.path)"])
    } catch {
      region.record(in: region.recording, failure: error)
      logger.warning(
        "not recorded",
        metadata: [
          "pool": "\(region.name)", "cause": "\(error)",
          "cure": "make room in a directory that genpoold may write to, then reload",
          "then": old?.isOpen == true ? "the old record goes on" : "the pool goes on",
        ])
    }
  }

  /// A new record with what the pool holds in it.
  private func begin(
    recording region: AttachedRegion, in directory: String
  ) throws(SystemError) -> Recording {
    let name = region.name
    let file = try TraceFile(of: name, in: directory) { [logger] failure, lineCount in
      // Without a line there was no record: whoever began it is told.
      guard lineCount > 0 else { return }
      logger.warning(
        "record ends",
        metadata: [
          "pool": "\(name)", "file": "\(failure.subject)", "lines": "\(lineCount)",
          "cause": "\(failure)", "then": "the pool goes on",
        ])
    }
    let pool = RecordedAllocator(recording: region.pool, name: name) { file.append($0) }
    if let failure = file.failure { throw failure }
    return Recording(pool: pool, file: file)
  }

  /// Ends the region's record, if there is one.
  func endRecord(of region: AttachedRegion) {
    let recording = region.recording
    region.record(in: nil)
    guard let recording, let lineCount = recording.file.end() else { return }
    logger.notice(
      "record ends",
      metadata: [
        "pool": "\(region.name)", "file": "\(recording.file.path)", "lines": "\(lineCount)",
      ])
  }
}

extension AttachedRegion {
  /// Every allocation from the pool.
  func allocateInPool(_ size: ByteCount, fit: Fit) throws(PhysicalPoolError) -> PhysicalAddress {
    guard let recording, recording.file.isOpen else {
      return try pool.allocate(size, fit: fit).start
    }
    return try recording.pool.allocate(size, fit: fit).start
  }

  /// Every free.
  func freeInPool(_ start: PhysicalAddress, size: ByteCount) throws(PhysicalPoolError) {
    guard let recording, recording.file.isOpen else {
      try pool.free(start, size: size)
      return
    }
    try recording.pool.free(start, size: size)
  }
}

/// A refusal of a pool over physical addresses.
typealias PhysicalPoolError = RangeAllocator<PhysicalSpace>.Failure
