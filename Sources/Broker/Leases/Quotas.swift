public import BrokerProtocol
public import GenPool

/// How much each user may have at a time, so that none can take everything.
///
/// A lease counts for its uid from Acquire until its memory is clean again: orphaned, revoked and
/// quarantined memory too, for nobody else can have it meanwhile, and who leaves memory behind
/// shall not get more by it.
public struct Quotas: Hashable, Sendable {
  /// What one user may have; nil is unlimited.
  public struct Limits: Hashable, Sendable {
    /// Of all leases together, in whole granules.
    public var bytes: ByteCount?
    /// Leases.
    public var leases: Int?
    /// Connections. One more is told so and closed.
    public var connections: Int?

    public init(bytes: ByteCount? = nil, leases: Int? = nil, connections: Int? = nil) {
      self.bytes = bytes
      self.leases = leases
      self.connections = connections
    }

    /// No limits.
    public static let unlimited = Self()

    /// The limits unless others are configured: a quarter of the leases and of the connections that
    /// all users have, so that a user who takes them all leaves some. A connection has one Acquire
    /// that waits and one descriptor on its way at most, so these are limited with it.
    public static let standard = Self(leases: 16_384, connections: 256)
  }

  /// For every account without an override but root's, who can open the BARs without asking, so
  /// that a limit would only lock out who comes to put things right. An override for uid 0 does
  /// count.
  public var defaults: Limits
  /// For single users, instead of the defaults: what is nil here is unlimited.
  public var overrides: [UID: Limits]
  /// The users that belong to others.
  public var subordinates: SubordinateUsers

  public init(
    defaults: Limits = .standard, overrides: [UID: Limits] = [:],
    subordinates: SubordinateUsers = SubordinateUsers()
  ) {
    self.defaults = defaults
    self.overrides = overrides
    self.subordinates = subordinates
  }

  /// The user on whose account `user` is: itself, or the one whose subordinate it is. One without
  /// an override of its own, which makes it a user as any other.
  package func account(of user: UID) -> UID {
    overrides[user] == nil ? subordinates.owner(of: user) ?? user : user
  }

  /// What `user` may have.
  public func limits(of user: UID) -> Limits {
    overrides[user] ?? (user == .root ? .unlimited : defaults)
  }
}

/// What a user has of what its quota limits.
struct Usage: Hashable {
  var bytes = ByteCount.zero
  var leases = 0

  /// Counts one more lease.
  mutating func add(_ size: ByteCount) {
    bytes += size
    leases += 1
  }

  /// Why one more lease of `size` is above `limits`; nil when it is not.
  /// - Parameter pool: the pool that the limits are of; nil when they are of all together.
  func excess(
    over limits: Quotas.Limits, with size: ByteCount, of pool: String? = nil
  ) -> BrokerError? {
    if let limit = limits.leases, leases >= limit {
      return .quotaExceeded(what: .leases, limit: limit, used: leases, pool: pool)
    }
    if let limit = limits.bytes, size > limit || bytes > limit - size {
      return .quotaExceeded(
        what: .bytes, limit: Int(clamping: limit.rawValue), used: Int(clamping: bytes.rawValue),
        pool: pool)
    }
    return nil
  }
}

extension UID {
  package static let root = Self(rawValue: 0)
}
