import Broker
import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import Logging
import PCIDevices

extension Configuration {
  /// What it says, for who checks it: one line a key, and one a pool.
  var summary: [String] {
    var lines: [String] = []
    func add(_ key: String, _ value: String?) {
      if let value { lines.append("\(key): \(value)") }
    }
    add("socket", socket)
    add("group", group?.name)
    add("adminGroup", adminGroup?.name)
    add("logLevel", logLevel?.rawValue)
    add("maxLeases", maxLeases?.description)
    add("quotas", quotas.defaults.summary)
    for (user, limits) in quotas.overrides.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      add("quotas of uid \(user)", limits.summary)
    }
    add("record", record)
    for pool in pools {
      var words = [pool.name.map { "pool \($0):" } ?? "pool:", pool.description]
      if pool.offset != .zero { words.append("from \(pool.offset)") }
      if let size = pool.size { words.append("of \(size)") }
      if let granule = pool.granule { words.append("granule \(granule)") }
      words.append(pool.isolation.rawValue)
      if pool.source != .sysfs { words.append("through \(pool.source.rawValue)") }
      if !pool.allow.isEmpty { words.append("allow " + pool.allow.joined(separator: "+")) }
      if let access = pool.policy.access { words.append("for \(access.summary)") }
      let quotas = pool.policy.quotas
      if quotas.defaults != .unlimited { words.append("each user \(quotas.defaults.summary)") }
      for (user, limits) in quotas.overrides.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
        words.append("uid \(user) \(limits.summary)")
      }
      lines.append(words.joined(separator: ", ").replacing(":, ", with: ": "))
    }
    return lines
  }

  /// The parts that are no mistake, but do not work as this machine is now.
  /// - Parameter tree: where the devices are.
  func warnings(in tree: DeviceTree) -> [String] {
    let refusal = record.flatMap {
      RecordDirectory(path: $0).refusal(of: F_OK, cure: "make it before genpoold needs it")
    }
    return (refusal.map { ["\($0)"] } ?? []) + PoolForecast(pools, in: tree).obstacles
  }
}

extension PoolAccess {
  /// `user:alice+group:nvme`, as `pool attach` takes it.
  var summary: String {
    let members = users.map { "user:\($0.name)" } + groups.map { "group:\($0.name)" }
    return members.isEmpty ? "root and admins alone" : members.joined(separator: "+")
  }
}
