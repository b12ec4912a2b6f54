import Broker
import BrokerLeases
import BrokerProtocol
import Glibc
import LinuxSystem
import Logging
import StrictJSON

extension Configuration: Decodable {
  /// How many leases a table may be made for: a slot costs about 200 bytes.
  static let leaseLimits = 1...1_048_576
  /// sockaddr_un's room for the admins' path, which is longer, and its NUL.
  private static let socketPathLimit =
    107 - (BrokerSocket(path: "").admin.path.utf8.count)
  /// PATH_MAX, less a file's name and what is between.
  private static let directoryPathLimit = 4096 - 256 - 1

  init(from decoder: any Decoder) throws {
    let section = try ConfigurationSection(
      decoder,
      known: [
        "socket", "group", "adminGroup", "logLevel", "maxLeases", "quotas", "record", "pools",
      ])
    socket = section.value(
      "socket", from: String.self,
      else: "a path from / on, or @ and a name, of at most \(Self.socketPathLimit) bytes without "
        + "control characters; the admins' socket is made beside it"
    ) { text in
      let isPlace = text.hasPrefix("/") || text.hasPrefix("@")
      return isPlace && isPlain(text) && (2...Self.socketPathLimit).contains(text.utf8.count)
        && !BrokerSocket(path: text).isAdmin
        ? text : nil
    }
    group = section.group("group")
    adminGroup = section.group("adminGroup")
    logLevel = section.value(
      "logLevel", from: String.self,
      else: "there are " + Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
    ) { Logger.Level(rawValue: $0) }
    maxLeases = section.value(
      "maxLeases", from: Int.self, else: "from 1 to \(Self.leaseLimits.upperBound)"
    ) { Self.leaseLimits.contains($0) ? $0 : nil }
    quotas = section.value("quotas") ?? Quotas()
    record = section.value(
      "record", from: String.self,
      else: "a directory, from / on, of at most \(Self.directoryPathLimit) bytes without control "
        + "characters"
    ) { text in
      text.hasPrefix("/") && isPlain(text) && text.utf8.count <= Self.directoryPathLimit
        ? text : nil
    }
    let entries: [ConfigurationElement<PoolEntry>] = section.value("pools") ?? []
    pools = entries.compactMap(\.value)
    refuseRepetitions(entries.map(\.value), decoder.problemCollector)
  }

  /// Two pools cannot have one name, and not one BAR either: a descriptor reaches all of it.
  private func refuseRepetitions(_ entries: [PoolEntry?], _ problems: ProblemCollector) {
    var names: [String: Int] = [:]
    var places: [String: Int] = [:]
    for case (let index, let entry?) in entries.enumerated() {
      let path: [JSONSourceMap.Step] = [.key("pools"), .index(index)]
      if let name = entry.name {
        if let earlier = names[name] {
          problems.report("pools[\(earlier)] has this name already", at: path + [.key("name")])
        }
        names[name] = names[name] ?? index
      }
      // A search overlaps others as the machine has it: that is found out when it is attached.
      if let earlier = places[entry.description] {
        problems.report(
          "pools[\(earlier)] has \(entry) already, and a descriptor reaches all of a BAR",
          at: path + [.key("device")])
      }
      places[entry.description] = places[entry.description] ?? index
    }
  }
}

/// Whether a path has no characters that would end it early (NUL) or steer whoever's terminal it is
/// printed on.
private func isPlain(_ path: String) -> Bool {
  !path.unicodeScalars.contains { $0.properties.generalCategory == .control }
}

extension ConfigurationSection {
  fileprivate func group(_ key: String) -> Configuration.Group? {
    value(key, from: String.self, else: "there is no such group here; groupadd --system makes one")
    { name in
      Accounts.group(name).map { Configuration.Group(name: name, gid: $0) }
    }
  }
}
