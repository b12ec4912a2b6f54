public import BrokerProtocol
import Glibc
import LinuxSystem

extension BrokerSocket {
  /// The socket that the rule gives for this process: its variables as they are now, its user.
  public static var standard: Self {
    Self(environment: ProcessEnvironment.variables, uid: getuid())
  }
}
