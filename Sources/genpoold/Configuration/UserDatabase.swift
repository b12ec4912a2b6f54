import BrokerProtocol
import LinuxSystem

/// The users of this machine, as a configuration names them.
enum UserDatabase {
  /// The number of a user, given by name or as the number itself; nil if there is none of that
  /// name.
  static func user(_ name: String) -> UID? {
    Accounts.userNumber(name).map { UID(rawValue: $0) }
  }
}
