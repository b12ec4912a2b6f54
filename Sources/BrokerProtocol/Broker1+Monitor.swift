public import GenPool

extension Broker1 {
  /// Something that happened to a pool or a lease. The interface's `Event`.
  public struct Event: Codable, Sendable, Equatable {
    public var event: EventName
    /// The pool's name.
    public var pool: String?
    /// What is clean and free, for ``EventName/pressure``.
    public var available: ByteCount?
    public var lease: LeaseID?
    public var generation: Generation?
    /// Whose lease it is.
    public var uid: UID?
    public var pid: PID?
    /// Why a pool or a lease was revoked.
    public var cause: String?
    /// The lease's label.
    public var label: String?

    public init(
      event: EventName, pool: String? = nil, available: ByteCount? = nil, lease: LeaseID? = nil,
      generation: Generation? = nil, uid: UID? = nil, pid: PID? = nil, cause: String? = nil,
      label: String? = nil
    ) {
      self.event = event
      self.pool = pool
      self.available = available
      self.lease = lease
      self.generation = generation
      self.uid = uid
      self.pid = pid
      self.cause = cause
      self.label = label
    }
  }

  /// What happened.
  public struct EventName: RawRepresentable, Hashable, Codable, Sendable {
    public let rawValue: String

    public init(rawValue: String) { self.rawValue = rawValue }

    /// What happens from now on is told.
    public static let started = Self(rawValue: "started")
    /// A pool was attached.
    public static let regionAdded = Self(rawValue: "regionAdded")
    /// A pool was detached.
    public static let regionRemoved = Self(rawValue: "regionRemoved")
    /// A pool's device was removed or stopped answering.
    public static let regionRevoked = Self(rawValue: "regionRevoked")
    /// A pool leases no more: an admin drained it, or the configuration has it no longer.
    public static let regionDraining = Self(rawValue: "regionDraining")
    /// Nothing reaches a drained pool's memory any more: it can be detached.
    public static let regionDrained = Self(rawValue: "regionDrained")
    /// A pool that was draining or drained leases again.
    public static let regionResumed = Self(rawValue: "regionResumed")
    /// A lease's holder must use its memory no longer.
    public static let leaseRevoked = Self(rawValue: "leaseRevoked")
    /// Less than an eighth of a pool is free.
    public static let pressure = Self(rawValue: "pressure")
  }

  /// Tells what happens, until the connection ends. To be called with `more`.
  public enum Monitor: VarlinkMethod {
    public static let name = interface + ".Monitor"
    public typealias Parameters = NoParameters

    public struct Reply: Codable, Sendable, Equatable {
      public var event: Event

      public init(event: Event) {
        self.event = event
      }
    }
  }

  /// Takes a lease back from its holder. For admins.
  public enum ForceRelease: VarlinkMethod {
    public static let name = interface + ".ForceRelease"

    public struct Parameters: VarlinkParameters {
      public var lease: LeaseID

      public enum CodingKeys: CodingKey, CaseIterable { case lease }

      public init(lease: LeaseID) {
        self.lease = lease
      }
    }

    public struct Reply: Codable, Sendable, Equatable {
      /// As it is now.
      public var lease: Lease

      public init(lease: Lease) {
        self.lease = lease
      }
    }
  }
}
