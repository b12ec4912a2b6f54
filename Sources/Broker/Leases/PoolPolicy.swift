package import BrokerProtocol

/// The users that may lease of a pool, and the limits of each in it.
public struct PoolPolicy: Hashable, Sendable {
  /// The users and groups that may lease; nil for every client.
  public var access: PoolAccess?
  /// The limits of each user in this pool, beside those of all pools together.
  public var quotas: Quotas

  public init(
    access: PoolAccess? = nil, quotas: Quotas = Quotas(defaults: .unlimited)
  ) {
    self.access = access
    self.quotas = quotas
  }

  /// Every client, without limits.
  public static let open = Self()
}

/// The users and groups that may lease of a pool, beside root and admins.
///
/// Root at the clients' socket is not refused: it can become any user that is named, root in a
/// container too.
public struct PoolAccess: Hashable, Sendable {
  /// A user or a group.
  public struct Member: Hashable, Sendable {
    /// The name or number that it was given by.
    public let name: String
    /// Its number.
    public let number: UInt32

    public init(name: String, number: UInt32) {
      self.name = name
      self.number = number
    }
  }

  public let users: [Member]
  public let groups: [Member]

  public init(users: [Member] = [], groups: [Member] = []) {
    self.users = users
    self.groups = groups
  }

  /// Whether a caller may lease.
  /// - Parameter groupsOfCaller: read only if the user alone does not decide.
  /// - Complexity: O(members), and O(groups of the caller) where groups decide.
  package func admits(
    _ user: UID, isAdmin: Bool, groups groupsOfCaller: () -> [UInt32]
  ) -> Bool {
    if isAdmin || user == .root { return true }
    if users.contains(where: { $0.number == user.rawValue }) { return true }
    guard !groups.isEmpty else { return false }
    let numbers = Set(groups.map(\.number))
    return groupsOfCaller().contains { numbers.contains($0) }
  }

  /// The error for a caller that may not.
  package func denial(of pool: String) -> BrokerError {
    .poolDenied(pool: pool, users: users.map(\.name), groups: groups.map(\.name))
  }

  /// The same as clients see it.
  package var description: Broker1.Access {
    Broker1.Access(users: users.map(\.name), groups: groups.map(\.name))
  }
}
