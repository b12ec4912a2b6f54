import BrokerProtocol

/// The process of a request, for one decision: its groups are read once for all of the pools, and
/// kept no longer, as they may be 65,536.
final class CallerGroups {
  private let request: LeaseRequest
  private lazy var groups = request.groups()

  init(_ request: LeaseRequest) {
    self.request = request
  }

  /// The error for a pool that the process may not lease of; nil when it may.
  func denial(by access: PoolAccess?, of pool: String) -> BrokerError? {
    guard let access,
      !access.admits(request.user, isAdmin: request.isAdmin, groups: { groups })
    else { return nil }
    return access.denial(of: pool)
  }
}
