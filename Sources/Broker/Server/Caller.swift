import BrokerLeases
import BrokerProtocol

/// The process that asks which pools it may lease of.
final class Caller {
  private let user: UID
  private let isAdmin: Bool
  private let readGroups: () -> [UInt32]
  /// Read once, however many pools there are: that takes a call of the kernel.
  private lazy var groups = readGroups()

  init(user: UID, isAdmin: Bool, groups: @escaping () -> [UInt32]) {
    self.user = user
    self.isAdmin = isAdmin
    readGroups = groups
  }

  /// Whether it may lease, as far as `policy` goes.
  func mayLease(by policy: PoolPolicy) -> Bool {
    policy.access?.admits(user, isAdmin: isAdmin) { groups } ?? true
  }
}

extension AttachedRegion {
  /// The region as `caller` sees it.
  func description(for caller: Caller) -> Broker1.Pool {
    var description = description
    description.mayLease = caller.mayLease(by: policy)
    return description
  }
}

extension ExpectedPools.Expectation {
  /// The pool as `caller` sees it.
  func description(for caller: Caller) -> Broker1.Pool {
    var description = description
    description.mayLease = caller.mayLease(by: policy)
    return description
  }
}
