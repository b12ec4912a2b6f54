import DeviceMemory
import GenPool
import Logging

// What pools are asked, written down: a failure from the field becomes a test.

/// The calls of a pool on their way to a file.
struct Recording {
  let pool: RecordedPool
  let file: TraceFile
}

extension LeaseBroker {
  /// Records a region's pool from now on, if the configuration says where to and it is not recorded yet.
  /// A pool that cannot be recorded is used without.
  func record(_ region: AttachedRegion) {
    guard let directory = configuration.recordDirectory, !region.isRevoked,
      region.recording?.file.isOpen != true
    else { return }
    let name = region.name
    do throws(SystemError) {
      let file = try TraceFile(of: name, in: directory) { [logger] failure in
        logger.warning(
          "recording ends",
          metadata: ["pool": "\(name)", "cause": "\(failure)", "then": "the pool goes on"])
      }
      logger.notice("record", metadata: ["pool": "\(name)", "file": "\(file.path)"])
      region.recording = Recording(
        pool: RecordedPool(recording: region.pool, name: name) { file.append($0) }, file: file)
    } catch {
      logger.warning(
        "not recorded",
        metadata: ["pool": "\(name)", "cause": "\(error)", "then": "the pool goes on"])
    }
  }

  /// Ends all records.
  func stopRecording() {
    for region in regions { region.recording = nil }
  }
}

extension AttachedRegion {
  /// Every allocation from the pool.
  func allocateInPool(_ size: ByteCount, fit: Fit) throws(PoolError) -> VirtualAddress {
    guard let recording, recording.file.isOpen else {
      return try pool.allocate(size, fit: fit).start
    }
    return try recording.pool.allocate(size, fit: fit).start
  }

  /// Every free.
  func freeInPool(_ start: VirtualAddress, size: ByteCount) throws(PoolError) {
    guard let recording, recording.file.isOpen else {
      try pool.free(start, size: size)
      return
    }
    try recording.pool.free(start, size: size)
  }
}
