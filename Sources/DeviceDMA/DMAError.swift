public import LinuxSystem
public import SystemPackage

/// Why there is no address at which a device reaches memory.
public enum DMAError: ErrnoError, Hashable {
  /// The device cannot reach the memory as things are.
  case unreachable(subject: String, initiator: String, cause: String)
  /// What was asked for makes no sense.
  case invalid(subject: String, problem: String)
  /// The system refused.
  case system(SystemError)

  /// The errno that says the same: EHOSTUNREACH, EINVAL or the system's.
  public var errno: Errno {
    switch self {
    case .unreachable: .noRouteToHost
    case .invalid: .invalidArgument
    case .system(let error): error.errno
    }
  }
}

extension DMAError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .unreachable(let subject, let initiator, let cause):
      "find the address of \(subject) for \(initiator): \(cause)"
    case .invalid(let subject, let problem): "find the address of \(subject): \(problem)"
    case .system(let error): error.description
    }
  }
}
