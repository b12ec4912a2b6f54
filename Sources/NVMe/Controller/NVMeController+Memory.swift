public import DeviceMemory
import DeviceSources
import GenPool
public import PCIDevices
import Synchronization

extension NVMeController {
  /// Opens the memory of a kind, as the two below.
  public func open(
    _ kind: ControllerMemory.Kind
  ) throws(NVMeControllerError) -> OpenControllerMemory {
    switch kind {
    case .buffer: try controllerMemoryBuffer()
    case .persistentRegion: try persistentMemoryRegion()
    }
  }

  /// Opens the controller memory buffer, enabled until the range ends.
  ///
  /// A controller of the 1.4 scheme is told to call it by its bus address, so that one address is
  /// right for the controller itself and for all others.
  /// - Throws: ``NVMeControllerError/memory(_:_:)`` when it has none; when it refuses to enable it.
  public func controllerMemoryBuffer() throws(NVMeControllerError) -> OpenControllerMemory {
    let enabling = try Enabling(.buffer, of: self)
    var state = try state()
    if let control = state.bufferControl, !control.showsRegisters {
      enabling.begin()
      try store64(CMBControl.registersOnly.rawValue, at: NVMeRegisters.Offset.bufferControl)
      state = try self.state()
    }
    let memory: ControllerMemory
    do throws(ControllerMemoryError) {
      memory = try ControllerMemory(
        bufferLocation: state.bufferLocation, bufferSize: state.bufferSize, in: device.bars)
    } catch {
      throw .memory(address, error)
    }
    // Opened before it is enabled: nobody else's range is made to appear in their memory.
    let range = try open(memory)
    if state.capabilities.hasControllerMemoryBuffer {
      enabling.begin()
      try enableBuffer(at: try base(of: range, memory.kind))
    }
    return OpenControllerMemory(
      memory: memory, owner: address, range: range.used(by: enabling, as: label(memory)))
  }

  /// Opens the persistent memory region, enabled until the range ends. What is in it is kept:
  /// whoever leases it out erases it, and must have been told to.
  /// - Throws: as ``controllerMemoryBuffer()``; when it is not ready in time, or not healthy.
  public func persistentMemoryRegion() throws(NVMeControllerError) -> OpenControllerMemory {
    guard let region = try state().persistentRegion else {
      throw .memory(address, .absent(.persistentRegion))
    }
    let memory: ControllerMemory
    let capabilities: PMRCapabilities
    do throws(ControllerMemoryError) {
      memory = try ControllerMemory(
        regionCapabilities: region.capabilities, in: device.bars)
    } catch {
      throw .memory(address, error)
    }
    do throws(RegisterProblem) {
      capabilities = try PMRCapabilities(rawValue: region.capabilities)
    } catch {
      throw .memory(address, .register(error))
    }
    let range = try open(memory)
    let enabling = try Enabling(.persistentRegion, of: self)
    enabling.begin()
    try enableRegion(capabilities, at: try base(of: range, memory.kind))
    return OpenControllerMemory(
      memory: memory, owner: address, range: range.used(by: enabling, as: label(memory)))
  }

  /// The registers with those of the controller memory buffer, which a controller of the 1.4 scheme
  /// hides until it is asked (CMBMSC.CRE): asked for the moment, and put back. The buffer is not
  /// enabled by that.
  public func revealedState() throws(NVMeControllerError) -> NVMeRegisters {
    let enabling = try Enabling(.buffer, of: self)
    guard let control = try state().bufferControl, !control.showsRegisters else {
      return try state()
    }
    enabling.begin()
    try store64(CMBControl.registersOnly.rawValue, at: NVMeRegisters.Offset.bufferControl)
    return try withExtendedLifetime(enabling) { () throws(NVMeControllerError) in try state() }
  }

  /// The BAR that its persistent memory region is in, enabled or not; nil when it has none.
  public func persistentBAR() throws(NVMeControllerError) -> BAR.Index? {
    guard let region = try state().persistentRegion else { return nil }
    do throws(RegisterProblem) {
      return try PMRCapabilities(rawValue: region.capabilities).bar
    } catch {
      throw .memory(address, .register(error))
    }
  }

  private func label(_ memory: ControllerMemory) -> String {
    "the \(memory.kind.words) of \(address)"
  }

  private func open(_ memory: ControllerMemory) throws(NVMeControllerError) -> DeviceRange {
    do throws(AttachError) {
      return try source.open(
        BARRequest(
          device: address, bar: memory.bar, offset: memory.offset, size: memory.size,
          naming: naming, allowed: allowed, contents: .announcedMemory))
    } catch {
      throw .attach(error)
    }
  }

  private func base(
    of range: borrowing DeviceRange, _ kind: ControllerMemory.Kind
  ) throws(NVMeControllerError) -> BusAddress {
    guard let bus = range.bus else {
      throw .refused(
        address, operation: "enable the \(kind.words)", problem: "nobody knows its bus address")
    }
    return bus
  }

  // MARK: Enabling

  /// CMBMSC, and what the controller says to it.
  private func enableBuffer(at base: BusAddress) throws(NVMeControllerError) {
    let operation = "enable the controller memory buffer"
    guard let control = CMBControl.enabled(at: base) else {
      throw .refused(address, operation: operation, problem: "\(base) is no multiple of 4 KiB")
    }
    try store64(control.rawValue, at: NVMeRegisters.Offset.bufferControl)
    let state = try state()
    guard state.bufferStatus?.isBaseInvalid != true else {
      throw .refused(
        address, operation: operation, problem: "CMBSTS refuses the base address \(base)")
    }
    guard state.bufferControl == control else {
      throw .refused(
        address, operation: operation,
        problem: "CMBMSC does not keep what was written to it, 0x"
          + hexadecimal(control.rawValue, digits: 16))
    }
  }

  /// PMRMSC where there is one, then PMRCTL, then the wait for PMRSTS.
  private func enableRegion(
    _ capabilities: PMRCapabilities, at base: BusAddress
  ) throws(NVMeControllerError) {
    let operation = "enable the persistent memory region"
    if capabilities.hasMemorySpace {
      guard let control = PMRControl.enabled(at: base) else {
        throw .refused(address, operation: operation, problem: "\(base) is no multiple of 4 KiB")
      }
      try store64(control.rawValue, at: NVMeRegisters.Offset.regionControl)
    }
    try store(1, at: NVMeRegisters.Offset.regionEnable)
    var status = PMRStatus(rawValue: 0)
    try wait(capabilities.timeout, for: operation) { () throws(NVMeControllerError) in
      status = PMRStatus(rawValue: try load(NVMeRegisters.Offset.regionStatus))
      return status.isReady
    }
    guard !status.isBaseInvalid else {
      throw .refused(
        address, operation: operation, problem: "PMRSTS refuses the base address \(base)")
    }
    guard status.health == .normal || status.health == .contentNotRestored else {
      throw .refused(
        address, operation: operation, problem: "PMRSTS says that it is \(status.health)")
    }
  }

  /// Puts the registers of a memory back to what they were, and looks whether they are. Nothing
  /// when the controller is gone.
  fileprivate func restore(
    _ kind: ControllerMemory.Kind, to before: NVMeRegisters
  ) throws(NVMeControllerError) {
    guard source.isPresent(address) else { return }
    let operation = "disable the \(kind.words)"
    switch kind {
    case .buffer:
      guard let control = before.bufferControl else { return }
      try store64(control.rawValue, at: NVMeRegisters.Offset.bufferControl)
      guard try state().bufferControl == control else {
        throw .refused(
          address, operation: operation, problem: "CMBMSC does not take its old value back")
      }
    case .persistentRegion:
      guard let region = before.persistentRegion else { return }
      if !region.isEnabled { try store(0, at: NVMeRegisters.Offset.regionEnable) }
      guard let decoded = try? PMRCapabilities(rawValue: region.capabilities) else { return }
      if decoded.hasMemorySpace {
        try store64(region.control.rawValue, at: NVMeRegisters.Offset.regionControl)
      }
      guard !region.isEnabled else { return }
      try wait(decoded.timeout, for: operation) { () throws(NVMeControllerError) in
        !PMRStatus(rawValue: try load(NVMeRegisters.Offset.regionStatus)).isReady
      }
    }
  }
}

/// Keeps a controller's registers open while its memory is used, and undoes the enabling at the
/// end.
private final class Enabling: Sendable {
  private let controller: NVMeController
  private let kind: ControllerMemory.Kind
  private let before: NVMeRegisters
  private let hasBegun = Atomic(false)

  init(
    _ kind: ControllerMemory.Kind, of controller: NVMeController
  ) throws(NVMeControllerError) {
    self.controller = controller
    self.kind = kind
    before = try controller.state()
  }

  /// From now on there is something to undo.
  func begin() { hasBegun.store(true, ordering: .relaxed) }

  deinit {
    guard hasBegun.load(ordering: .relaxed) else { return }
    do throws(NVMeControllerError) {
      try controller.restore(kind, to: before)
    } catch {
      controller.report(error)
    }
  }
}

/// Memory of a controller that is open and enabled, and what the controller says of it.
public struct OpenControllerMemory: ~Copyable, Sendable {
  /// Where it lies, and what its owner can keep in it.
  public let memory: ControllerMemory
  /// The controller.
  public let owner: PCIAddress
  /// The open memory. Its end disables it.
  public let range: DeviceRange

  /// The open memory alone, to be mapped or leased.
  public consuming func intoRange() -> DeviceRange { range }
}
