package import BrokerProtocol

/// The reasons that keep an Acquire waiting, and the error that it gets once it waits no longer.
package struct Wait {
  /// Whether what is waited for comes by itself.
  package enum Term: Hashable, Sendable {
    /// The end of a scrub is enough.
    case brief
    /// A lease has to end, which may never be.
    case lasting
  }

  /// The pools that may serve it.
  package var pools: [RegionID: Term] = [:]
  /// Not nil when it waits for its user's quota.
  package var quota: Term?
  /// The pools of which it waits for its user's quota, each with the account there.
  package var poolQuotas: [PoolShare: Term] = [:]
  /// Pools that have room once they are erased of what another user could have written.
  package var erasures: [RegionID] = []
  package let failure: BrokerError

  package init(
    pools: [RegionID: Term] = [:], quota: Term? = nil, poolQuotas: [PoolShare: Term] = [:],
    erasures: [RegionID] = [], failure: BrokerError
  ) {
    self.pools = pools
    self.quota = quota
    self.poolQuotas = poolQuotas
    self.erasures = erasures
    self.failure = failure
  }

  /// Whether scrubbing alone may end it.
  var isBrief: Bool {
    pools.values.contains(.brief) || quota == .brief || poolQuotas.values.contains(.brief)
  }

  /// Whether it waits for nothing that may come.
  var isEmpty: Bool { pools.isEmpty && quota == nil && poolQuotas.isEmpty }

  /// Whether both wait for the same.
  func isSame(as other: Self) -> Bool {
    pools == other.pools && quota == other.quota && poolQuotas == other.poolQuotas
  }
}
