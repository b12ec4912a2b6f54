import CLinux

/// The user and group databases of this machine. getpwnam(3), getgrnam(3).
package enum Accounts {
  /// The number of the group `name`; nil if there is none.
  package static func group(_ name: String) -> UInt32? {
    // A C string would end at a NUL, and name another group.
    guard !name.utf8.contains(0) else { return nil }
    var group: UInt32 = 0
    return unsafe gl_group(name, &group) == 0 ? group : nil
  }

  /// The number of the user `name`; nil if there is none.
  package static func user(_ name: String) -> UInt32? {
    guard !name.utf8.contains(0) else { return nil }
    var user: UInt32 = 0
    return unsafe gl_user(name, &user) == 0 ? user : nil
  }
}
