import DeviceDMA
import GenPool
import PCIDevices

/// The controller's states, and the ways between them (NVMe 1.4 section 7.6): each is asked for in
/// CC and waited for in CSTS.
extension NVMeController {
  func read() throws(NVMeError) -> NVMeRegisters {
    do throws(DeviceError) {
      return try state()
    } catch {
      throw .device(error)
    }
  }

  /// Stops it: commands are forgotten, queues are no more. Nothing when it is stopped.
  func disable() throws(NVMeError) {
    var now = try read()
    guard now.status.isAnswer else { throw .device(.noAnswer(address)) }
    if now.configuration.isEnabled, !now.status.isReady, !now.status.isFatal {
      // It must have become ready before it may be disabled (section 3.1.5, EN).
      try poll(now, for: "enabling", ignoringFailure: true) { $0.isReady || $0.isFatal }
      now = try read()
    }
    var configuration = now.configuration
    configuration.isEnabled = false
    try configure(configuration)
    try poll(now, for: "disabling", ignoringFailure: true) { !$0.isReady }
  }

  /// Enables it with these admin queues.
  func enable(
    entries: Int, submissions: DMAAddress, completions: DMAAddress
  ) throws(NVMeError) {
    typealias Offset = NVMeRegisters.Offset
    do throws(DeviceError) {
      // Both sizes count from 0 (section 3.1.8).
      let size = UInt32(entries - 1)
      try store(size << 16 | size, at: Offset.adminQueueAttributes)
      try store64(submissions.rawValue, at: Offset.adminSubmissionQueue)
      try store64(completions.rawValue, at: Offset.adminCompletionQueue)
    } catch {
      throw .device(error)
    }
    try configure(.enabled)
    try poll(read(), for: "enabling", ignoringFailure: false) { $0.isReady }
  }

  /// Tells it that the power may go, and waits until it says so as well.
  /// - Parameter limit: how long that may take, which CAP.TO is not about.
  func shutDown(within limit: Duration) throws(NVMeError) {
    let now = try read()
    try configure(now.configuration.withShutdown)
    try poll(now, for: "shutting down", within: limit, ignoringFailure: false) {
      $0.shutdown == .complete
    }
  }

  private func configure(_ configuration: ControllerConfiguration) throws(NVMeError) {
    do throws(DeviceError) {
      try store(configuration.rawValue, at: NVMeRegisters.Offset.configuration)
    } catch {
      throw .device(error)
    }
  }

  /// Waits for CSTS.
  /// - Parameters:
  ///   - limit: how long; as CAP.TO allows unless it is given.
  ///   - ignoringFailure: whether a controller that has failed is worth waiting for: only to be stopped.
  private func poll(
    _ state: NVMeRegisters, for operation: String, within limit: Duration? = nil,
    ignoringFailure: Bool,
    until isReached: (ControllerStatus) -> Bool
  ) throws(NVMeError) {
    var last = state.status
    do throws(DeviceError) {
      try wait(limit ?? state.capabilities.timeout, for: operation) {
        () throws(DeviceError) in
        last = ControllerStatus(rawValue: try load(NVMeRegisters.Offset.status))
        return !last.isAnswer || isReached(last) || (last.isFatal && !ignoringFailure)
      }
    } catch {
      throw .device(error)
    }
    guard last.isAnswer, isReached(last) else { throw .stopped(address) }
  }
}
