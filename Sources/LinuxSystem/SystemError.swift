public import SystemPackage

/// What the operating system refused: the operation, its subject, the error number and, where it is
/// known, the cause. Printed as `map BAR 2 of 0000:01:00.0: permission denied (kernel lockdown)`.
public struct SystemError: ErrnoError, Hashable {
  /// What was tried, as a verb: `map`, `open`, `duplicate`.
  public let operation: String
  /// What it was tried on: `BAR 2 of 0000:01:00.0`.
  public let subject: String
  /// What the kernel answered.
  public let errno: Errno
  /// Why the kernel answers that here, and what helps, if it is known.
  public let cause: String?

  public init(operation: String, subject: String, errno: Errno, cause: String? = nil) {
    self.operation = operation
    self.subject = subject
    self.errno = errno
    self.cause = cause
  }
}

extension SystemError: CustomStringConvertible {
  /// `operation subject: error text (cause)`.
  public var description: String {
    let sentence = "\(operation) \(subject): \(errno.textInSentence)"
    return cause.map { "\(sentence) (\($0))" } ?? sentence
  }
}

extension Errno {
  /// The C library's text as the middle of a sentence: `permission denied`, not `Permission
  /// denied`.
  var textInSentence: String {
    let text = description
    guard text.dropFirst().first?.isLowercase == true else { return text }
    return text.prefix(1).lowercased() + text.dropFirst()
  }
}
