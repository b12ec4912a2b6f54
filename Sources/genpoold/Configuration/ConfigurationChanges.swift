import Broker
import BrokerLeases
import BrokerProtocol
import GenPool
import Logging

/// The keys in which a new configuration differs, for the log. Pools that come and go have lines of
/// their own there.
struct ConfigurationChanges {
  /// `maxLeases: 65536 -> 10`; in the order of the keys.
  private(set) var lines: [String] = []
  /// Those that a running daemon cannot follow.
  private(set) var afterRestart: [String] = []
  /// Those that an option of the command line overrides.
  private(set) var overridden: [(line: String, option: String)] = []

  /// The number of keys, of all three kinds.
  var count: Int { lines.count + afterRestart.count + overridden.count }

  private let options: [String: String]

  /// - Parameter options: the options that override a key, by its name.
  init(
    from old: Configuration, to new: Configuration, overriddenBy options: [String: String] = [:]
  ) {
    self.options = options
    note("adminGroup", old.adminGroup?.name, new.adminGroup?.name)
    note("logLevel", old.logLevel?.rawValue, new.logLevel?.rawValue)
    note("maxLeases", old.maxLeases?.description, new.maxLeases?.description)
    note("quotas.defaults", old.quotas.defaults.summary, new.quotas.defaults.summary)
    let users = Set(old.quotas.overrides.keys).union(new.quotas.overrides.keys)
    for user in users.sorted(by: { $0.rawValue < $1.rawValue }) {
      note(
        "quotas.users.\(user)", old.quotas.overrides[user]?.summary,
        new.quotas.overrides[user]?.summary)
    }
    note("record", old.record ?? "nowhere", new.record ?? "nowhere")
    if old.pools != new.pools {
      notePools(old.pools, new.pools)
    }
    for (key, old, new) in [
      ("socket", old.socket, new.socket), ("group", old.group?.name, new.group?.name),
    ] where old != new {
      afterRestart.append(Self.line(key, old, new))
    }
  }

  private mutating func note(_ key: String, _ old: String?, _ new: String?) {
    guard old != new else { return }
    let line = Self.line(key, old, new)
    if let option = options[key] {
      overridden.append((line, option))
    } else {
      lines.append(line)
    }
  }

  /// A line a pool. One that has the name of one that was is the same, changed.
  private mutating func notePools(_ old: [PoolEntry], _ new: [PoolEntry]) {
    let gone = Set(Set(old).subtracting(new).map(\.title))
    let come = Set(Set(new).subtracting(old).map(\.title))
    for title in gone.union(come).sorted() {
      let before = old.first { $0.title == title && gone.contains(title) }
      let now = new.first { $0.title == title && come.contains(title) }
      let fate =
        if let before, let now {
          "changed (\(now.differences(from: before)))"
        } else {
          now == nil ? "removed" : "added"
        }
      lines.append("pool \(title): \(fate)")
    }
  }

  private static func line(_ key: String, _ old: String?, _ new: String?) -> String {
    "\(key): \(old ?? "default") -> \(new ?? "default")"
  }
}

extension Quotas.Limits {
  /// `bytes=64 MiB leases=10`, `unlimited`.
  var summary: String {
    let limits = [
      bytes.map { "bytes=\($0)" }, leases.map { "leases=\($0)" },
      connections.map { "connections=\($0)" },
    ].compactMap { $0 }
    return limits.isEmpty ? "unlimited" : limits.joined(separator: " ")
  }
}

extension Quotas {
  /// The default limits, then those of users by number: `unlimited, 1000: leases=10`.
  var summary: String {
    let users = overrides.sorted { $0.key.rawValue < $1.key.rawValue }
    return ([defaults.summary] + users.map { "\($0.key): \($0.value.summary)" })
      .joined(separator: ", ")
  }
}
