/// `io.genpool.Broker1`: the interface's types and methods, as io.genpool.Broker1.varlink has them.
///
/// The file is the source of truth; `BrokerProtocolTests` holds this module against it.
public enum Broker1 {
  /// The interface's name. Its number changes when a client would break.
  public static let interface = "io.genpool.Broker1"

  /// The full names of its methods.
  public static let methods: Set<String> = [
    Hello.name, ListDevices.name, ListPools.name, DescribePool.name, Acquire.name, Release.name,
    ForceRelease.name, Monitor.name, ListLeases.name, Attach.name, Detach.name,
    DrainPool.name,
  ]

  /// Why a pool is busy.
  public struct BusyReason: RawRepresentable, Hashable, Codable, Sendable {
    public let rawValue: String

    public init(rawValue: String) { self.rawValue = rawValue }

    /// Another user holds leases or descriptors of a pool that one user at a time may use.
    public static let uidExclusive = Self(rawValue: "uid-exclusive")
    /// Processes of another user may still reach the memory, and the kernel cannot tell: until the
    /// pool is detached and attached again.
    public static let unseen = Self(rawValue: "unseen")
    /// Others asked before and still wait for its memory.
    public static let queue = Self(rawValue: "queue")
    /// It has leases, so it cannot be detached.
    public static let leases = Self(rawValue: "leases")
    /// Processes that were given its descriptor still live, so it cannot be detached.
    public static let holders = Self(rawValue: "holders")
    /// Not attached yet: its memory is in use, and is tried again and again.
    public static let waiting = Self(rawValue: "waiting")
  }

  /// What a quota limits.
  public struct QuotaSubject: RawRepresentable, Hashable, Codable, Sendable {
    public let rawValue: String

    public init(rawValue: String) { self.rawValue = rawValue }

    /// The bytes of all leases.
    public static let bytes = Self(rawValue: "bytes")
    public static let leases = Self(rawValue: "leases")
    public static let connections = Self(rawValue: "connections")
    /// The connections of all users together, but root's.
    public static let allConnections = Self(rawValue: "all-connections")
  }

  /// What a pool can do.
  public struct PoolState: RawRepresentable, Hashable, Codable, Sendable {
    public let rawValue: String

    public init(rawValue: String) { self.rawValue = rawValue }

    /// It leases.
    public static let active = Self(rawValue: "active")
    /// The pool leases no more; memory that was leased is still in use.
    public static let draining = Self(rawValue: "draining")
    /// An admin drained it, and nothing reaches its memory any more: it can be detached.
    public static let drained = Self(rawValue: "drained")
    /// Its device stopped answering.
    public static let revoked = Self(rawValue: "revoked")
    /// Not attached yet, because its memory is in use.
    public static let waiting = Self(rawValue: "waiting")
  }

  /// Where a lease is in its life.
  public struct LeaseState: RawRepresentable, Hashable, Codable, Sendable {
    public let rawValue: String

    public init(rawValue: String) { self.rawValue = rawValue }

    /// A session has it.
    public static let leased = Self(rawValue: "leased")
    /// Its connection closed while its process lives on, with the mapping perhaps.
    public static let orphaned = Self(rawValue: "orphaned")
    /// It ended; its memory waits for the scrubber.
    /// Ended, but the kernel sees that something of it still reaches its memory.
    public static let reached = Self(rawValue: "reached")
    public static let quarantine = Self(rawValue: "quarantine")
    /// The device stopped answering while it was leased, or an admin took it back.
    public static let revoked = Self(rawValue: "revoked")
  }

  /// How Acquire picks among the free runs.
  public struct FitName: RawRepresentable, Hashable, Codable, Sendable {
    public let rawValue: String

    public init(rawValue: String) { self.rawValue = rawValue }

    /// The lowest that is large enough, aligned as asked.
    public static let first = Self(rawValue: "first")
    /// The smallest that is large enough.
    public static let best = Self(rawValue: "best")
    /// The lowest, aligned to the size's next power of two.
    public static let orderAligned = Self(rawValue: "order-aligned")
    /// At the given offset or not at all.
    public static let fixed = Self(rawValue: "fixed")
  }
}
