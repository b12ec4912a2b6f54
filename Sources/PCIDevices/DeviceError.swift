import Glibc
public import LinuxSystem
public import SystemPackage

/// The reason for which a device was not found, read, opened, bound or brought into a state.
///
/// The one error of everything between the kernel and an open piece of device memory: sysfs, the
/// attach rules, sources, NVMe controllers. Nothing is left changed when one is thrown, but for
/// what its text calls not undone.
public enum DeviceError: ErrnoError, Hashable {
  /// No device has that address.
  case noSuchDevice(PCIAddress, root: SysfsRoot)
  /// A file or a register does not contain what its documentation promises. `place` is a file's
  /// path, with `:LINE` when one line is at fault.
  case malformed(place: String, problem: String)
  /// Attach rules forbid it: every rule that does.
  case refused(PCIAddress, [AttachRule.Refusal])
  /// The request makes no sense.
  case invalid(subject: String, problem: String)
  /// This process has some of the memory open already.
  case overlapping(subject: String, problem: String)
  /// The device is of another class than an NVMe controller's.
  case notNVMe(PCIAddress, ClassCode)
  /// The device's registers read as all-ones.
  case noAnswer(PCIAddress)
  /// The device has no such memory: `controller memory buffer`.
  case absent(PCIAddress, memory: String)
  /// The device did not reach a state within the time that its registers name for that.
  case timeout(PCIAddress, operation: String, limit: Duration)
  /// The device did not accept what was written to a register, or its registers contradict
  /// themselves.
  case contradiction(PCIAddress, operation: String, problem: String)
  /// The system refused.
  case system(SystemError)

  /// The errno that says the same. A refusal is EPERM, with a driver in the way EBUSY, and ENODEV
  /// when the device does not answer.
  public var errno: Errno {
    switch self {
    case .noSuchDevice, .noAnswer, .absent: return Errno(rawValue: ENODEV)
    case .malformed: return .badMessage
    case .refused(_, let refusals):
      let rules = Set(refusals.map(\.rule))
      if rules.contains("no-response") { return Errno(rawValue: ENODEV) }
      return rules.contains("driver-bound") ? .resourceBusy : .notPermitted
    case .invalid, .notNVMe: return .invalidArgument
    case .overlapping: return .resourceBusy
    case .timeout: return .timedOut
    case .contradiction: return .ioError
    case .system(let error): return error.errno
    }
  }
}

extension DeviceError: CustomStringConvertible {
  /// `operation subject: cause`.
  public var description: String {
    if case .system(let error) = self { return error.description }
    let failure = asSystemError
    return "\(failure.operation) \(failure.subject): \(failure.cause ?? "")"
  }

  /// The operation that failed, its subject, the errno and the cause.
  package var asSystemError: SystemError {
    func failed(_ operation: String, _ subject: String, _ cause: String) -> SystemError {
      SystemError(operation: operation, subject: subject, errno: errno, cause: cause)
    }
    return switch self {
    case .noSuchDevice(let address, let root):
      failed(
        "find", "\(address)",
        "no such PCI device under \(root) (`genpoolctl device list` shows them)")
    case .malformed(let place, let problem): failed("read", place, problem)
    case .refused(let address, let refusals):
      failed(
        "attach", refusals.first?.subject ?? "\(address)",
        "refused: " + refusals.map(\.description).joined(separator: "; "))
    case .invalid(let subject, let problem), .overlapping(let subject, let problem):
      failed("attach", subject, problem)
    case .notNVMe(let address, let code):
      failed("open", "\(address)", "it is no NVMe controller (class \(code), not 0x010802)")
    case .noAnswer(let address):
      failed(
        "open", "\(address)",
        "its registers read as all-ones: pulled out, without power, or failed")
    case .absent(let address, let memory):
      failed("open", "the memory of \(address)", "the controller has no \(memory)")
    case .timeout(let address, let operation, let limit):
      failed(
        operation, "of \(address)", "not within \(limit), the time that it may take for that")
    case .contradiction(let address, let operation, let problem):
      failed(operation, "of \(address)", problem)
    case .system(let error): error
    }
  }
}
