public import DeviceDMA
public import DeviceMemory
import Glibc
public import LinuxSystem
public import PCIDevices
public import SystemPackage

/// What a driver could not do.
public enum NVMeError: ErrnoError {
  /// The controller could not be opened, or did not change its state.
  case device(DeviceError)
  /// There is no memory for it.
  case memory(BufferPoolError)
  /// The controller has no address for the memory.
  case unreachable(DMAError)
  /// Memory did not answer.
  case fault(DeviceFault)
  /// A command ended with an error.
  case failed(PCIAddress, command: String, CommandStatus)
  /// A command that fills memory ended well, but what was in the memory before is still there.
  case nothingArrived(PCIAddress, command: String, at: DMAAddress)
  /// A command did not end in time: the controller must be reset.
  case timeout(PCIAddress, command: String, after: Duration)
  /// The controller has stopped: CSTS.CFS is set, or it reads as all-ones.
  case stopped(PCIAddress)
  /// A completion that makes no sense.
  case broken(PCIAddress, problem: String)
  /// What this driver, or this controller, cannot.
  case unsupported(String)

  /// The errno that says the same: EIO for what a command ended with.
  public var errno: Errno {
    switch self {
    case .device(let error): error.errno
    case .memory(let error): error.errno
    case .unreachable(let error): error.errno
    case .fault(let fault): fault.errno
    case .timeout: .timedOut
    case .stopped: Errno(rawValue: ENODEV)
    case .unsupported: .notSupported
    case .failed, .nothingArrived, .broken: .ioError
    }
  }

  /// How the command ended, when it did with an error.
  public var status: CommandStatus? {
    if case .failed(_, _, let status) = self { status } else { nil }
  }
}

extension NVMeError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .device(let error): error.description
    case .memory(let error): error.description
    case .unreachable(let error): error.description
    case .fault(let fault): fault.description
    case .failed(let address, let command, let status): "\(command) on \(address): status \(status)"
    case .nothingArrived(let address, let command, let place):
      "\(command) on \(address) reported success, but nothing arrived at \(place): it does not reach "
        + "that memory"
    case .timeout(let address, let command, let limit):
      "\(command) on \(address): no completion within \(limit); was its memory in its reach?"
    case .stopped(let address):
      "\(address) has stopped (CSTS says a fatal error, or nothing): reset it"
    case .broken(let address, let problem): "\(address) completed a command wrongly: \(problem)"
    case .unsupported(let what): "not possible: \(what)"
    }
  }
}

extension DMABuffer {
  /// Accesses the memory, with the driver's error.
  func guarded<Result>(
    _ body: (DMABuffer) throws(DeviceFault) -> Result
  ) throws(NVMeError) -> Result {
    do throws(DeviceFault) {
      return try body(self)
    } catch {
      throw .fault(error)
    }
  }
}
