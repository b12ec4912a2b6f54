import BrokerLeases
import BrokerProtocol

/// The number of connections of each user, and the limits on them.
struct ConnectionQuota {
  /// Limits of each user.
  var quotas = Quotas()
  /// The most connections of all users but root, which gets in regardless.
  var limit = 0

  /// Only users that have some.
  private var counts: [UID: Int] = [:]
  private(set) var total = 0

  /// The error for one more connection of `user`; nil when it may have it. O(1).
  func excess(of user: UID) -> BrokerError? {
    let used = counts[user] ?? 0
    if let limit = quotas.limits(of: user).connections, used >= limit {
      return .quotaExceeded(what: .connections, limit: limit, used: used)
    }
    guard user != .root else { return nil }
    let all = total - (counts[.root] ?? 0)
    return all < limit ? nil : .quotaExceeded(what: .allConnections, limit: limit, used: all)
  }

  mutating func add(_ user: UID) {
    counts[user, default: 0] += 1
    total += 1
  }

  mutating func remove(_ user: UID) {
    let others = (counts[user] ?? 0) - 1
    counts[user] = others > 0 ? others : nil
    total -= 1
  }
}
