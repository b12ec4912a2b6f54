package import DeviceMemory
public import DeviceSources
package import GenPool
import Glibc
import LinuxSystem
public import PCIDevices
import Synchronization

/// An NVMe controller whose registers are open: what opens its memory, and what a driver starts
/// from.
///
/// The registers are the first 8 KiB of BAR 0: all of them, and the doorbells of the first queues.
/// Their file is locked, so there is one such object a controller on a machine, and no driver.
public final class NVMeController: Sendable {
  /// The controller as it was when its registers were opened.
  public let device: Device
  /// Where its other BARs are opened.
  public let source: any BARSource

  /// The registers.
  package let registers: Region
  /// How the controller was named, and what the caller allows of the attach rules: for the other
  /// BARs as well.
  let naming: BARRequest.Naming, allowed: Set<String>
  /// How long it is waited for at most; nil for as long as its registers say.
  private let patience: Duration?
  /// Called with what could not be undone.
  let report: @Sendable (DeviceError) -> Void
  /// The kinds of its memory that are open, and what their registers were before.
  let openMemory = Mutex<[ControllerMemory.Kind: MemoryUse.Shared]>([:])

  /// How much of BAR 0 is opened. The MSI-X table comes later on most controllers.
  private static let window = AttachRule.nvmeRegisters

  /// Opens the registers of the controller at `address`. Changes none of them.
  /// - Parameters:
  ///   - allowed: attach rules that may be broken this once.
  ///   - patience: how long it is waited for at most. Nil for as long as its registers say, which may be
  ///     hours for a persistent memory region.
  ///   - report: called for what could not be undone when its memory is given back.
  /// - Throws: ``DeviceError``: for what is no NVMe controller, for one that has a driver or does
  ///   not answer.
  public init(
    at address: PCIAddress, source: any BARSource, naming: BARRequest.Naming = .byAddress,
    allowed: Set<String> = [], patience: Duration? = nil,
    report: @escaping @Sendable (DeviceError) -> Void = { _ in }
  ) throws(DeviceError) {
    device = try source.tree.device(at: address)
    guard device.classCode == .nvme else {
      throw .notNVMe(address, device.classCode)
    }
    self.source = source
    self.naming = naming
    self.allowed = allowed
    self.patience = patience
    self.report = report
    let range = try source.open(
      BARRequest(
        device: address, bar: 0, size: min(device.bar(0)?.size ?? Self.window, Self.window),
        naming: naming, allowed: allowed, contents: .registers))
    registers = try Self.map(range)
    guard try state().capabilities.isAnswer else { throw .noAnswer(address) }
  }

  private static func map(_ range: consuming DeviceRange) throws(DeviceError) -> Region {
    do throws(SystemError) {
      return try Region(mapping: range)
    } catch {
      throw .system(error)
    }
  }

  /// Where it sits.
  public var address: PCIAddress { device.address }

  /// All registers that tell of the controller and its memory, read now.
  public func state() throws(DeviceError) -> NVMeRegisters {
    do throws(DeviceFault) {
      return try NVMeRegisters(reading: registers.mapping)
    } catch {
      throw .system(SystemError(error))
    }
  }

  // MARK: Registers

  package func load(_ offset: ByteCount) throws(DeviceError) -> UInt32 {
    do throws(DeviceFault) {
      return try registers.mapping.load(at: offset)
    } catch {
      throw .system(SystemError(error))
    }
  }

  package func store(_ value: UInt32, at offset: ByteCount) throws(DeviceError) {
    do throws(DeviceFault) {
      try registers.mapping.store(value, at: offset)
    } catch {
      throw .system(SystemError(error))
    }
  }

  /// Stores a 64-bit register in halves, the lower one, which enables things, last.
  package func store64(_ value: UInt64, at offset: ByteCount) throws(DeviceError) {
    try store(UInt32(value >> 32), at: offset + 4)
    try store(UInt32(truncatingIfNeeded: value), at: offset)
  }

  /// Waits until `isDone`, asking each millisecond.
  /// - Parameters:
  ///   - limit: how long the register's specification allows.
  ///   - operation: what is waited for, for the error.
  package func wait(
    _ limit: Duration, for operation: String,
    until isDone: () throws(DeviceError) -> Bool
  ) throws(DeviceError) {
    let clock = ContinuousClock()
    let limit = min(limit, patience ?? limit)
    // Controllers that say 0 still take a moment; and a busy machine is no fault of theirs.
    let deadline = clock.now + limit + .seconds(1)
    while true {
      // The clock first: what is done at the last moment is done.
      let isLate = clock.now >= deadline
      if try isDone() { return }
      guard !isLate else { throw .timeout(address, operation: operation, limit: limit) }
      usleep(1000)
    }
  }
}
