public import BrokerProtocol
public import LinuxSystem
import SystemPackage

extension BrokerError {
  /// The interface's form of an error of the system.
  public static func system(_ error: SystemError) -> Self {
    .deviceError(
      operation: error.operation, subject: error.subject, errno: error.errno.rawValue,
      cause: error.cause)
  }
}
