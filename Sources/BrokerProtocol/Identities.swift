/// Names a lease. Drawn at random (128 bits), so that nobody can guess another's.
public struct LeaseID: RawRepresentable, Hashable, Codable, Sendable, CustomStringConvertible {
  /// 32 hexadecimal digits.
  public let rawValue: String

  /// Any text: an identity that names nothing is answered with `NoSuchLease`.
  public init(rawValue: String) {
    self.rawValue = rawValue
  }

  public var description: String { rawValue }
}

/// Counts a pool's leases: memory that is leased again has a higher one.
public struct Generation: RawRepresentable, Hashable, Comparable, Codable, Sendable,
  CustomStringConvertible
{
  /// 1 for a pool's first lease.
  public let rawValue: Int64

  public init(rawValue: Int64) {
    self.rawValue = rawValue
  }

  public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

  public var description: String { String(rawValue) }
}

/// A user, as the kernel counts them: `uid_t`.
public struct UID: RawRepresentable, Hashable, Codable, Sendable, CustomStringConvertible {
  /// 0 is root.
  public let rawValue: UInt32

  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  public var description: String { String(rawValue) }
}

/// A process in the broker's pid namespace: `pid_t`. A number may be reused; pidfds are not.
public struct PID: RawRepresentable, Hashable, Codable, Sendable, CustomStringConvertible {
  /// Above 0; 0 for a peer in a namespace that the broker cannot see.
  public let rawValue: Int32

  public init(rawValue: Int32) {
    self.rawValue = rawValue
  }

  public var description: String { String(rawValue) }
}
