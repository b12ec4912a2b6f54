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
    let users: UserEntries<LimitsEntry>? = section.value("users")
    for (user, entry) in users?.entries ?? [:] {
      // What a user's entry leaves out is as without it: "unlimited" has to be said.
      overrides[user] = entry.limits(otherwise: limits(of: user))
    }
  }
}

/// The limits of users in one pool, as they are written: `bytes` and `leases` only.
struct PoolQuotasEntry: Decodable {
  let quotas: Quotas

  init(from decoder: any Decoder) throws {
    let section = try ConfigurationSection(decoder, known: ["defaults", "users"])
    let common: PoolLimitsEntry? = section.value("defaults")
    var quotas = Quotas(defaults: common?.entry.limits(otherwise: .unlimited) ?? .unlimited)
    let users: UserEntries<PoolLimitsEntry>? = section.value("users")
    for (user, limits) in users?.entries ?? [:] {
      quotas.overrides[user] = limits.entry.limits(otherwise: quotas.limits(of: user))
    }
    self.quotas = quotas
  }
}

/// One user's limits in a pool. Connections are not a pool's.
private struct PoolLimitsEntry: Decodable {
  let entry: LimitsEntry

  init(from decoder: any Decoder) throws {
    entry = try LimitsEntry(from: decoder, known: ["bytes", "leases"])
  }
}

/// One user's limits as they are written.
private struct LimitsEntry: Decodable {
  private let bytes: Limit<ConfiguredSize>?
  private let leases: Limit<Int>?
  private let connections: Limit<Int>?

  init(from decoder: any Decoder) throws {
    try self.init(from: decoder, known: ["bytes", "leases", "connections"])
  }

  init(from decoder: any Decoder, known: [String]) throws {
    let section = try ConfigurationSection(decoder, known: known)
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
private struct UserEntries<Limits: Decodable>: Decodable {
  var entries: [UID: Limits] = [:]

  init(from decoder: any Decoder) throws {
    let section = try ConfigurationSection(decoder)
    for name in section.keys.sorted() {
      let limits: Limits? = section.value(name)
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
