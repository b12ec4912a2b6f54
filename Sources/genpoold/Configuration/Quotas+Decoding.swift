import Broker
public import BrokerLeases
import BrokerProtocol
import GenPool

// `"quotas": {"defaults": {…}, "users": {"alice": {…}, "1000": {…}}}`

extension Quotas: Decodable {
  public init(from decoder: any Decoder) throws {
    let section = try ConfigurationSection(decoder, known: ["defaults", "users"])
    self.init()
    let everybody: LimitsEntry? = section.value("defaults")
    defaults = everybody?.limits(otherwise: .standard) ?? .standard
    let users: UserEntries? = section.value("users")
    for (user, entry) in users?.entries ?? [:] {
      // What a user's entry leaves out is as without it: "unlimited" has to be said.
      overrides[user] = entry.limits(otherwise: limits(of: user))
    }
  }
}

/// One user's limits as they are written.
private struct LimitsEntry: Decodable {
  private let bytes: Limit<ConfiguredSize>?
  private let leases: Limit<Int>?
  private let connections: Limit<Int>?

  init(from decoder: any Decoder) throws {
    let section = try ConfigurationSection(decoder, known: ["bytes", "leases", "connections"])
    bytes = section.value("bytes")
    func count(_ key: String) -> Limit<Int>? {
      let limit: Limit<Int>? = section.value(key)
      if let value = limit?.value, value < 0 {
        section.refuse(key, "\(value) is not possible; it is 0 or more, or \"unlimited\"")
      }
      return limit
    }
    leases = count("leases")
    connections = count("connections")
  }

  /// The limits, where what is not written is as `others` have it.
  func limits(otherwise others: Quotas.Limits) -> Quotas.Limits {
    Quotas.Limits(
      bytes: bytes.map { $0.value?.size } ?? others.bytes,
      leases: leases.map(\.value) ?? others.leases,
      connections: connections.map(\.value) ?? others.connections)
  }
}

/// A number, or `"unlimited"`, which is nil.
private struct Limit<Value: Decodable>: Decodable {
  let value: Value?

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if (try? container.decode(String.self)) == "unlimited" {
      value = nil
    } else {
      value = try container.decode(Value.self)
    }
  }
}

/// Limits by user.
private struct UserEntries: Decodable {
  var entries: [UID: LimitsEntry] = [:]

  init(from decoder: any Decoder) throws {
    let section = try ConfigurationSection(decoder)
    for name in section.keys.sorted() {
      let limits: LimitsEntry? = section.value(name)
      guard let user = UserDatabase.user(name) else {
        section.refuse(name, "there is no such user here", isAboutKey: true)
        continue
      }
      guard entries[user] == nil else {
        section.refuse(name, "user \(user) has an entry already", isAboutKey: true)
        continue
      }
      entries[user] = limits
    }
  }
}
