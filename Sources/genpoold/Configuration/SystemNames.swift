import BrokerProtocol
import CLinux

/// The users and groups of this machine, by name.
enum SystemNames {
  /// The number of a group; nil if there is none of that name.
  static func group(_ name: String) -> UInt32? {
    // A C string would end at a NUL, and name another group.
    guard !name.utf8.contains(0) else { return nil }
    var group: UInt32 = 0
    return unsafe gl_group(name, &group) == 0 ? group : nil
  }

  /// The number of a user, given by name or as the number itself; nil if there is none of that name.
  static func user(_ name: String) -> UID? {
    // -1 means nobody to the kernel.
    if let number = UInt32(name), number < .max { return UID(rawValue: number) }
    guard !name.utf8.contains(0) else { return nil }
    var user: UInt32 = 0
    return unsafe gl_user(name, &user) == 0 ? UID(rawValue: user) : nil
  }
}
