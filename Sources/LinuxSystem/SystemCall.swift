package import SystemPackage

/// The result of a C function that returns a value or a negated errno.
/// - Throws: the errno, as the failure of `operation` on `subject`.
@discardableResult
package func check<Result: SignedInteger>(
  _ result: Result, _ operation: String, _ subject: String, cause: String? = nil
) throws(SystemError) -> Result {
  try attempt(operation, subject, cause: { _ in cause }, try result.orErrno())
}

/// The result of `call`.
/// - Parameter cause: the cause of an errno here, if it is known.
/// - Throws: the errno of `call`, as the failure of `operation` on `subject`.
@discardableResult
package func attempt<Result: ~Copyable>(
  _ operation: String, _ subject: String, cause: (Errno) -> String? = { _ in nil },
  _ call: @autoclosure () throws(Errno) -> Result
) throws(SystemError) -> Result {
  do throws(Errno) {
    return try call()
  } catch {
    throw SystemError(operation: operation, subject: subject, errno: error, cause: cause(error))
  }
}

extension SignedInteger {
  /// The value that a C function returned, unless it is a negated errno.
  package func orErrno() throws(Errno) -> Self {
    guard self < 0 else { return self }
    throw Errno(rawValue: CInt(clamping: -self))
  }
}

extension Descriptor {
  /// Takes over the descriptor that a C function returned, unless it is a negated errno.
  package init(result: CInt) throws(Errno) {
    self.init(owning: try result.orErrno())
  }

  /// Takes over the descriptor that a C function returned, unless it is a negated errno.
  /// - Throws: the errno, as the failure of `operation` on `subject`.
  package init(
    owningResult result: CInt, of operation: String, _ subject: String
  ) throws(SystemError) {
    self.init(owning: try check(result, operation, subject))
  }
}
