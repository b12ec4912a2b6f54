import BrokerProtocol
import DeviceMemory
import LinuxSystem
import SystemPackage

extension CallFailure {
  /// The interface's form of a system error.
  static func system(_ error: SystemError) -> Self {
    .broker(
      .deviceError(
        operation: error.operation, subject: error.subject, errno: error.errno.rawValue,
        cause: error.cause))
  }
}
