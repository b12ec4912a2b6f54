import BrokerLeases
import BrokerProtocol
import LinuxSystem

extension SubordinateUsers {
  /// A file longer than this is none.
  private static let sizeLimit = 16 << 20

  /// Those of a file as subuid(5) has it, `name:first:count` a line. What cannot be read, or names
  /// no user, is passed by: it has no quota to share.
  init(file path: String = "/etc/subuid") {
    let text = (try? fileContents(path, limit: Self.sizeLimit)) ?? []
    self.init(text: String(decoding: text, as: UTF8.self), user: UserDatabase.user)
  }

  /// Those of the text of such a file.
  init(text: String, user: (String) -> UID?) {
    self.init(
      text.split(separator: "\n").compactMap { line in
        let fields = line.split(separator: ":", omittingEmptySubsequences: false)
        guard fields.count == 3, let first = UInt32(fields[1]), let count = UInt32(fields[2]),
          let owner = user(String(fields[0]))
        else { return nil }
        return Range(owner: owner, first: first, count: count)
      })
  }
}
