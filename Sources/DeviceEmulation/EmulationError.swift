public import LinuxSystem
public import PCIDevices
public import SystemPackage

/// Why an emulated device or tree could not be made.
public enum EmulationError: ErrnoError, Hashable {
  /// What was asked for makes no sense, or not here.
  case invalid(subject: String, problem: String)
  /// The system refused to write.
  case system(SystemError)
  /// The tree that is there already cannot be read.
  case device(DeviceError)
}

extension EmulationError {
  /// The errno that says the same.
  public var errno: Errno {
    switch self {
    case .invalid: .invalidArgument
    case .system(let error): error.errno
    case .device(let error): error.errno
    }
  }
}

extension EmulationError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .invalid(let subject, let problem): "emulate \(subject): \(problem)"
    case .system(let error): error.description
    case .device(let error): error.description
    }
  }
}
