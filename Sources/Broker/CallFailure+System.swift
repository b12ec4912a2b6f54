import BrokerProtocol
import DeviceMemory
import LinuxSystem
import SystemPackage

extension CallFailure {
  /// What the system refused, as the interface says it.
  static func system(_ error: SystemError) -> Self {
    .broker(
      .deviceError(
        operation: error.operation, subject: error.subject, errno: error.errno.rawValue,
        cause: error.cause))
  }
}
