public import SystemPackage

/// An error with a number and one line of text: every error that genpool throws.
///
/// A program needs one `catch let error as any ErrnoError`.
public protocol ErrnoError: Error, CustomStringConvertible, Sendable {
  /// The number that a C function returns for it.
  var errno: Errno { get }
}
