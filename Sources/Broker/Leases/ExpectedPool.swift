package import BrokerProtocol

/// A pool that comes once its memory is not in use any more. Nothing is leased of it yet.
package struct ExpectedPool {
  package let id: RegionID
  package let name: String

  package init(id: RegionID, name: String) {
    self.id = id
    self.name = name
  }

  /// The error for an Acquire of it.
  package var busy: BrokerError {
    .poolBusy(pool: name, reason: .waiting, uid: nil, leases: 0, holders: 0)
  }
}
