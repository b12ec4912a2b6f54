package import BrokerProtocol

/// The reasons that keep an Acquire waiting, and the error that it gets once it waits no longer.
package struct Wait {
  /// Whether what is waited for comes by itself.
  package enum Term: Hashable, Sendable {
    /// The end of a scrub is enough.
    case brief
    /// A lease has to end, which may never be.
    case lasting

    /// The longer of two: what those behind will wait for.
    func joined(with other: Self) -> Self { self == .lasting ? self : other }
  }

  /// The pools that may serve it.
  package var pools: [RegionID: Term] = [:]
  /// Not nil when it waits for its user's quota.
  package var quota: Term?
  /// Pools that have room once they are erased of what another user could have written.
  package var erasures: [RegionID] = []
  package let failure: BrokerError

  package init(
    pools: [RegionID: Term] = [:], quota: Term? = nil, erasures: [RegionID] = [],
    failure: BrokerError
  ) {
    self.pools = pools
    self.quota = quota
    self.erasures = erasures
    self.failure = failure
  }

  /// Whether scrubbing alone may end it.
  var isBrief: Bool { pools.values.contains(.brief) || quota == .brief }
}

/// The Acquires that wait ahead of another. Memory of a pool that one ahead waits for goes to no
/// other, nor does anything of a quota that one ahead waits for.
package struct Line {
  private(set) var pools: [RegionID: Wait.Term] = [:]
  private(set) var users: [UID: Wait.Term] = [:]

  package init() {}

  mutating func join(_ wait: Wait, _ user: UID) {
    pools.merge(wait.pools) { $0.joined(with: $1) }
    if let term = wait.quota { users.merge([user: term]) { $0.joined(with: $1) } }
  }
}
