import BrokerLeases
import BrokerProtocol
import LinuxSystem

// `"access": {"users": ["alice", "1001"], "groups": ["nvme"]}`

/// The users and groups that may lease of a pool, as they are written.
struct AccessEntry: Decodable {
  let access: PoolAccess

  init(from decoder: any Decoder) throws {
    let section = try ConfigurationSection(decoder, known: ["users", "groups"])
    func members(
      _ key: String, _ noun: String, _ number: (String) -> UInt32?
    ) -> [PoolAccess.Member] {
      let names: [ConfigurationElement<AccountName>] = section.value(key) ?? []
      if names.count > Broker1.Access.limit {
        section.refuse(key, "\(Broker1.Access.limit) at most; a group can have more members")
      }
      return names.compactMap(\.value).compactMap { name in
        guard let number = number(name.text) else {
          section.refuse(key, "there is no \(noun) \(quotedForLog(name.text)) here")
          return nil
        }
        return PoolAccess.Member(name: name.text, number: number)
      }
    }
    access = PoolAccess(
      users: members("users", "user", Accounts.userNumber),
      groups: members("groups", "group", Accounts.groupNumber))
  }
}

/// A user or a group, by name or number, the number as text or as a number.
private struct AccountName: Decodable {
  let text: String

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let number = try? container.decode(UInt32.self) {
      text = String(number)
    } else {
      text = try container.decode(String.self)
    }
  }
}
