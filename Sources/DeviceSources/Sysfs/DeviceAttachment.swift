import Glibc
import PCIDevices
import Synchronization

/// A device that is kept ready for its memory to be used: enabled, and out of drivers' reach. Ends
/// with the last range of it that its source has handed out.
final class DeviceAttachment: Sendable {
  /// The device's directory.
  let directory: DeviceDirectory

  private let changes: Mutex<DeviceChanges>
  private let process: pid_t
  private let report: @Sendable (DeviceError) -> Void

  /// Makes `device` ready. `report` is called in the end for all that could not be undone.
  init(
    _ device: Device, in directory: DeviceDirectory,
    report: @escaping @Sendable (DeviceError) -> Void
  ) throws(DeviceError) {
    self.directory = directory
    self.report = report
    process = getpid()
    let changes = try directory.changing { () throws(DeviceError) in
      // Alone, the lock is exclusive until all is done; otherwise it is shared from the start.
      let isAlone = directory.isAlone()
      if !isAlone { try directory.join() }
      let changes = try DeviceChanges(device, directory, isAlone: isAlone)
      do throws(DeviceError) {
        if isAlone { try directory.join() }
      } catch {
        throw error.leaving(changes.undo(directory, isLast: isAlone))
      }
      return changes
    }
    self.changes = Mutex(changes)
  }

  /// Lets the device do DMA. Undone with the attachment.
  func enableBusMastering() throws(DeviceError) {
    try directory.changing { () throws(DeviceError) in
      try changes.withLock { changes throws(DeviceError) in
        try changes.enableBusMastering(directory)
      }
    }
  }

  deinit {
    // In a forked child this is a copy: the parent still uses the device.
    guard getpid() == process else { return }
    do throws(DeviceError) {
      try directory.changing { () throws(DeviceError) in
        changes.withLock { $0 }.undo(directory, isLast: directory.isAlone()).forEach(report)
      }
    } catch {
      report(error)
    }
  }
}
