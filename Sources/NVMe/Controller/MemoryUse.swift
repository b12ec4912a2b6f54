import PCIDevices
import Synchronization

/// One open range of a controller's memory. It keeps the controller's registers open; the last one
/// of a kind puts the registers of that memory back to what they were before the first.
final class MemoryUse: Sendable {
  /// All open ranges of one kind, as the controller counts them.
  struct Shared {
    /// Of how many ranges there are.
    var count = 0
    /// The registers before the first of them changed any.
    let before: NVMeRegisters
    /// Whether a register was changed.
    var hasBegun = false
    /// Whether the memory is enabled.
    var isEnabled = false
  }

  private let controller: NVMeController
  private let kind: ControllerMemory.Kind

  init(_ kind: ControllerMemory.Kind, of controller: NVMeController) throws(DeviceError) {
    try controller.openMemory.withLock { (open) throws(DeviceError) in
      var shared: Shared
      if let known = open[kind] {
        shared = known
      } else {
        shared = Shared(before: try controller.state())
      }
      shared.count += 1
      open[kind] = shared
    }
    // Last: an object that was not counted has no deinit to run.
    self.controller = controller
    self.kind = kind
  }

  /// Has the controller show the registers of its hidden buffer (CMBMSC.CRE), and returns them all.
  func reveal() throws(DeviceError) -> NVMeRegisters {
    try change { (_) throws(DeviceError) in
      // Another range's opening may have done it since the caller looked.
      if try controller.state().bufferControl?.showsRegisters == false {
        try controller.store64(
          CMBControl.registersOnly.rawValue, at: NVMeRegisters.Offset.bufferControl)
      }
    }
    return try controller.state()
  }

  /// Runs `body`, which enables the memory, unless that was done for another range.
  func enable(_ body: () throws(DeviceError) -> Void) throws(DeviceError) {
    try change { (shared) throws(DeviceError) in
      guard !shared.isEnabled else { return }
      try body()
      shared.isEnabled = true
    }
  }

  private func change(
    _ body: (inout Shared) throws(DeviceError) -> Void
  ) throws(DeviceError) {
    try controller.openMemory.withLock { (open) throws(DeviceError) in
      guard var shared = open[kind] else { return }
      shared.hasBegun = true
      defer { open[kind] = shared }
      try body(&shared)
    }
  }

  deinit {
    controller.openMemory.withLock { open in
      guard var shared = open[kind] else { return }
      shared.count -= 1
      guard shared.count == 0 else { return open[kind] = shared }
      open[kind] = nil
      guard shared.hasBegun else { return }
      do throws(DeviceError) {
        try controller.restore(kind, to: shared.before)
      } catch {
        controller.report(error)
      }
    }
  }
}
