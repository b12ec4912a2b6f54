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

  /// The number of a user that is given by name or as the number itself; nil if there is none of
  /// that name.
  package static func userNumber(_ text: String) -> UInt32? {
    number(text) ?? user(text)
  }

  /// The same of a group.
  package static func groupNumber(_ text: String) -> UInt32? {
    number(text) ?? group(text)
  }

  // -1 is no user and no group to the kernel.
  private static func number(_ text: String) -> UInt32? {
    guard text.utf8.allSatisfy({ (48...57).contains($0) }), let number = UInt32(text),
      number < .max
    else { return nil }
    return number
  }

  /// The name of the group `number`; nil if it has none.
  package static func groupName(_ number: UInt32) -> String? {
    var name = [CChar](repeating: 0, count: 256)
    guard unsafe gl_group_name(number, &name, name.count) == 0 else { return nil }
    return String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
