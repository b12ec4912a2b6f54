package import BrokerProtocol

/// A pool that comes once its memory is not in use any more. Nothing is leased of it yet.
package struct ExpectedPool {
  package let id: RegionID
  package let name: String
  /// The users that may lease of it once it has come.
  package let access: PoolAccess?

  package init(id: RegionID, name: String, access: PoolAccess? = nil) {
    self.id = id
    self.name = name
    self.access = access
  }

  /// The error for an Acquire of it.
  package var busy: BrokerError {
    .poolBusy(pool: name, reason: .waiting, uid: nil, leases: 0, holders: 0)
  }
}
