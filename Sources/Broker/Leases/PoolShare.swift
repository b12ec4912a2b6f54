package import BrokerProtocol

/// An account in a pool.
package struct PoolShare: Hashable, Sendable {
  package let account: UID
  package let region: RegionID

  package init(account: UID, region: RegionID) {
    self.account = account
    self.region = region
  }
}

extension PoolShare {
  init(of entry: LeaseTable.Entry) {
    self.init(account: entry.poolAccount, region: entry.region)
  }
}
