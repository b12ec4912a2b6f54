import DeviceMemory
import SystemPackage

/// Turns CLinux's `-errno` into an error that says what was tried on what.
func check(
  _ result: CInt, _ operation: String, _ subject: String, cause: String? = nil
) throws(SystemError) {
  guard result >= 0 else {
    throw SystemError(
      operation: operation, subject: subject, errno: Errno(rawValue: -result), cause: cause)
  }
}

extension Descriptor {
  /// Takes over what a CLinux function returned: a descriptor, or `-errno`.
  init(
    owningResult result: CInt, of operation: String, _ subject: String
  ) throws(SystemError) {
    try check(result, operation, subject)
    self.init(owning: result)
  }
}
