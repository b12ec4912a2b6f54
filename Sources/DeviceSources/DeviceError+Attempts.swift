import Glibc
import LinuxSystem
package import PCIDevices
package import SystemPackage

extension DeviceError {
  /// The result of a C function that returns a value or a negated errno.
  /// - Throws: the errno, as the failure of `operation` on `subject`, and its cause.
  @discardableResult
  package static func check(
    _ result: CInt, _ operation: String, _ subject: String
  ) throws(DeviceError) -> CInt {
    try attempt(operation, subject, try result.orErrno())
  }

  /// The result of `call`.
  /// - Throws: the errno of `call`, as the failure of `operation` on `subject`, and its cause.
  @discardableResult
  package static func attempt<Result: ~Copyable>(
    _ operation: String, _ subject: String, _ call: @autoclosure () throws(Errno) -> Result
  ) throws(DeviceError) -> Result {
    do throws(SystemError) {
      return try LinuxSystem.attempt(operation, subject, cause: cause(of:), try call())
    } catch {
      throw .system(error)
    }
  }

  /// The cause of an errno that the kernel answers the opening or writing of a device's file with.
  package static func cause(of errno: Errno) -> String? {
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

extension DeviceError {
  /// The same, saying also what could not be undone.
  package func leaving(_ failures: [DeviceError]) -> Self {
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
