public import BrokerProtocol
import FoundationEssentials
import Glibc

extension BrokerSocket {
  /// The socket that the rule gives for this process: its variables as they are now, its user.
  public static var standard: Self {
    Self(environment: ProcessInfo.processInfo.environment, uid: getuid())
  }
}
