import Glibc
public import LinuxSystem
public import PCIDevices
public import SystemPackage

/// Why a BAR was not opened, or a device not bound. Nothing is left changed when one of these is
/// thrown, but for what its text calls not undone.
public enum AttachError: Error, Hashable, Sendable {
  /// sysfs shows no such device, or makes no sense.
  case unreadable(DeviceTreeError)
  /// Policy forbids it: every rule that does.
  case refused(PCIAddress, [AttachRule.Refusal])
  /// What was asked for makes no sense.
  case invalid(subject: String, problem: String)
  /// This source has handed out some of it already.
  case overlapping(subject: String, problem: String)
  /// The system refused.
  case system(SystemError)

  /// The errno that says the same. A refusal is EPERM, with a driver in the way EBUSY, and ENODEV
  /// when the device does not answer.
  public var errno: Errno {
    switch self {
    case .unreadable(let error): return error.errno
    case .refused(_, let refusals):
      let rules = Set(refusals.map(\.rule))
      if rules.contains("no-response") { return Errno(rawValue: ENODEV) }
      return rules.contains("driver-bound") ? .resourceBusy : .notPermitted
    case .invalid: return .invalidArgument
    case .overlapping: return .resourceBusy
    case .system(let error): return error.errno
    }
  }
}

extension AttachError {
  /// The result of a C function that returns a value or a negated errno.
  /// - Throws: the errno, as the failure of `operation` on `subject`, and its cause.
  @discardableResult
  package static func check(
    _ result: CInt, _ operation: String, _ subject: String
  ) throws(AttachError) -> CInt {
    try attempt(operation, subject, try result.orErrno())
  }

  /// The result of `call`.
  /// - Throws: the errno of `call`, as the failure of `operation` on `subject`, and its cause.
  @discardableResult
  package static func attempt<Result: ~Copyable>(
    _ operation: String, _ subject: String, _ call: @autoclosure () throws(Errno) -> Result
  ) throws(AttachError) -> Result {
    do throws(SystemError) {
      return try LinuxSystem.attempt(operation, subject, cause: cause(of:), try call())
    } catch {
      throw .system(error)
    }
  }

  /// The cause of an errno that the kernel answers the opening or writing of a device's file with.
  static func cause(of errno: Errno) -> String? {
    switch errno.rawValue {
    case EACCES: "that takes root or CAP_DAC_OVERRIDE"
    case EPERM: "that takes CAP_SYS_ADMIN, and a kernel that is not locked down"
    case EROFS: "sysfs is mounted read-only here; in a service, see ReadWritePaths=/sys/devices"
    case ENODEV, ENOENT: "the device was removed, or never had the file"
    case EINVAL: "it is not a regular file"
    default: nil
    }
  }
}

extension AttachError {
  /// The same, saying also what could not be undone.
  package func leaving(_ failures: [AttachError]) -> Self {
    guard !failures.isEmpty else { return self }
    let left = "not undone: " + failures.map(\.description).joined(separator: "; ")
    guard case .system(let error) = self else {
      return .system(
        SystemError(
          operation: "change", subject: "a device", errno: errno, cause: "\(self); \(left)"))
    }
    return .system(
      SystemError(
        operation: error.operation, subject: error.subject, errno: error.errno,
        cause: error.cause.map { "\($0); \(left)" } ?? left))
  }
}

extension AttachError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .unreadable(let error): error.description
    case .refused(let address, let refusals):
      "attach \(refusals.first?.subject ?? address.description): refused: "
        + refusals.map(\.description).joined(separator: "; ")
    case .invalid(let subject, let problem), .overlapping(let subject, let problem):
      "attach \(subject): \(problem)"
    case .system(let error): error.description
    }
  }
}
