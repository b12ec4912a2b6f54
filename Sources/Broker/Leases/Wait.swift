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
