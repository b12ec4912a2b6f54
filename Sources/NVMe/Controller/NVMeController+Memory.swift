public import DeviceMemory
import DeviceSources
public import GenPool
public import PCIDevices

extension NVMeController {
  /// Opens the memory of a kind or a part of it, enabled until the last range of it ends.
  ///
  /// A controller of the 1.4 scheme is told to call its buffer by its bus address, so that one
  /// address is right for the controller itself and for all others. What is in a persistent memory
  /// region is kept: a broker that leases it out erases it, with its admin's consent.
  /// - Parameters:
  ///   - offset: where the part starts in the memory, a multiple of the page size.
  ///   - size: how long the part is, likewise; nil for the rest.
  /// - Throws: ``DeviceError/absent(_:memory:)`` when it has none; when the controller refuses to
  ///   enable it, when it is not ready in time, or not healthy.
  public func open(
    _ kind: ControllerMemory.Kind, offset: ByteCount = .zero, size: ByteCount? = nil
  ) throws(DeviceError) -> OpenControllerMemory {
    let use = try MemoryUse(kind, of: self)
    var state = try state()
    if kind == .buffer, state.bufferControl?.showsRegisters == false {
      state = try use.reveal()
    }
    let memory: ControllerMemory
    do throws(ControllerMemoryError) {
      switch kind {
      case .buffer:
        memory = try ControllerMemory(
          bufferLocation: state.bufferLocation, bufferSize: state.bufferSize, in: device.bars)
      case .persistentRegion:
        guard let region = state.persistentRegion else { throw .absent(kind) }
        memory = try ControllerMemory(
          regionCapabilities: region.capabilities, in: device.bars)
      }
    } catch {
      throw DeviceError(error, of: address)
    }
    guard let part = memory.part(offset: offset, size: size) else {
      throw .invalid(
        subject: label(memory), problem: "the part reaches past its end, at \(memory.size)")
    }
    // Opened before it is enabled: no range of another process is made to appear in its memory.
    let range = try open(part)
    switch kind {
    case .buffer:
      if state.capabilities.hasControllerMemoryBuffer {
        let base = try base(of: range, kind, offset)
        try use.enable { () throws(DeviceError) in try enableBuffer(at: base) }
      }
    case .persistentRegion:
      let base = try base(of: range, kind, offset)
      try use.enable { () throws(DeviceError) in try enableRegion(at: base) }
    }
    return OpenControllerMemory(
      memory: part, owner: address, range: range.used(by: use, as: label(memory)))
  }

  /// The registers with those of the controller memory buffer, which a controller of the 1.4 scheme
  /// hides until it is asked (CMBMSC.CRE): asked for the moment, and put back. The buffer is not
  /// enabled by that.
  public func revealedState() throws(DeviceError) -> NVMeRegisters {
    let state = try state()
    guard state.bufferControl?.showsRegisters == false else { return state }
    return try MemoryUse(.buffer, of: self).reveal()
  }

  /// The BAR that its persistent memory region is in, enabled or not; nil when it has none.
  public func persistentBAR() throws(DeviceError) -> BAR.Index? {
    try regionCapabilities()?.bar
  }

  private func regionCapabilities() throws(DeviceError) -> PMRCapabilities? {
    guard let region = try state().persistentRegion else { return nil }
    do throws(RegisterProblem) {
      return try PMRCapabilities(rawValue: region.capabilities)
    } catch {
      throw DeviceError(.register(error), of: address)
    }
  }

  private func label(_ memory: ControllerMemory) -> String {
    "the \(memory.kind.words) of \(address)"
  }

  private func open(_ memory: ControllerMemory) throws(DeviceError) -> DeviceRange {
    try source.open(
      BARRequest(
        device: address, bar: memory.bar, offset: memory.offset, size: memory.size,
        naming: naming, allowed: allowed, contents: .announcedMemory))
  }

  /// The bus address of the memory that `range` is the part of from `offset` on.
  private func base(
    of range: borrowing DeviceRange, _ kind: ControllerMemory.Kind, _ offset: ByteCount
  ) throws(DeviceError) -> BusAddress {
    guard let bus = range.bus else {
      throw .contradiction(
        address, operation: "enable the \(kind.words)", problem: "its bus address is not known")
    }
    return bus - offset
  }

  // MARK: Enabling

  /// CMBMSC, and what the controller says to it.
  private func enableBuffer(at base: BusAddress) throws(DeviceError) {
    let operation = "enable the controller memory buffer"
    guard let control = CMBControl.enabled(at: base) else {
      throw .contradiction(
        address, operation: operation, problem: "\(base) is no multiple of 4 KiB")
    }
    try store64(control.rawValue, at: NVMeRegisters.Offset.bufferControl)
    let state = try state()
    guard state.bufferStatus?.isBaseInvalid != true else {
      throw .contradiction(
        address, operation: operation, problem: "CMBSTS refuses the base address \(base)")
    }
    guard state.bufferControl == control else {
      throw .contradiction(
        address, operation: operation,
        problem: "CMBMSC does not keep what was written to it, 0x"
          + hexadecimal(control.rawValue, digits: 16))
    }
  }

  /// PMRMSC where there is one, then PMRCTL, then the wait for PMRSTS.
  private func enableRegion(at base: BusAddress) throws(DeviceError) {
    guard let capabilities = try regionCapabilities() else { return }
    let operation = "enable the persistent memory region"
    if capabilities.hasMemorySpace {
      guard let control = PMRControl.enabled(at: base) else {
        throw .contradiction(
          address, operation: operation, problem: "\(base) is no multiple of 4 KiB")
      }
      try store64(control.rawValue, at: NVMeRegisters.Offset.regionControl)
    }
    try store(1, at: NVMeRegisters.Offset.regionEnable)
    var status = PMRStatus(rawValue: 0)
    try wait(capabilities.timeout, for: operation) { () throws(DeviceError) in
      status = PMRStatus(rawValue: try load(NVMeRegisters.Offset.regionStatus))
      return status.isReady
    }
    guard !status.isBaseInvalid else {
      throw .contradiction(
        address, operation: operation, problem: "PMRSTS refuses the base address \(base)")
    }
    guard status.health == .normal || status.health == .contentNotRestored else {
      throw .contradiction(
        address, operation: operation, problem: "PMRSTS says that it is \(status.health)")
    }
  }

  /// Puts the registers of a memory back to what they were, and looks whether they are. Nothing
  /// when the controller is gone.
  func restore(
    _ kind: ControllerMemory.Kind, to before: NVMeRegisters
  ) throws(DeviceError) {
    guard source.isPresent(address) else { return }
    let operation = "disable the \(kind.words)"
    switch kind {
    case .buffer:
      guard let control = before.bufferControl else { return }
      try store64(control.rawValue, at: NVMeRegisters.Offset.bufferControl)
      guard try state().bufferControl == control else {
        throw .contradiction(
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
      try wait(decoded.timeout, for: operation) { () throws(DeviceError) in
        !PMRStatus(rawValue: try load(NVMeRegisters.Offset.regionStatus)).isReady
      }
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
