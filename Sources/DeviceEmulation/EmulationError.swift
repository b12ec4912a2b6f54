public import LinuxSystem
public import PCIDevices

/// Why an emulated device or tree could not be made.
public enum EmulationError: Error, Hashable, Sendable {
  /// What was asked for makes no sense, or not here.
  case invalid(subject: String, problem: String)
  /// The system refused to write.
  case system(SystemError)
  /// The tree that is there already cannot be read.
  case unreadable(DeviceTreeError)
}

extension EmulationError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .invalid(let subject, let problem): "emulate \(subject): \(problem)"
    case .system(let error): error.description
    case .unreadable(let error): error.description
    }
  }
}
