// The methods that look and change nothing.

extension Broker1 {
  /// Who is talking to whom.
  public enum Hello: VarlinkMethod {
    public static let name = interface + ".Hello"

    public struct Parameters: VarlinkParameters {
      /// The session's name, for the broker's log, and the label of its leases that have no other,
      /// if it can be one.
      public var client: String?

      public enum CodingKeys: CodingKey, CaseIterable { case client }

      public init(client: String? = nil) {
        self.client = client
      }
    }

    public struct Reply: Codable, Sendable, Equatable {
      /// Names the connection.
      public var session: String
      /// The broker's version.
      public var version: String
      /// The caller, as the kernel told the broker.
      public var uid: UID
      public var pid: PID
      /// May attach and detach.
      public var admin: Bool

      public init(session: String, version: String, uid: UID, pid: PID, admin: Bool) {
        self.session = session
        self.version = version
        self.uid = uid
        self.pid = pid
        self.admin = admin
      }
    }
  }

  /// The machine's PCI devices that have memory, whether attached or not.
  public enum ListDevices: VarlinkMethod {
    public static let name = interface + ".ListDevices"
    public typealias Parameters = NoParameters

    public struct Reply: Codable, Sendable, Equatable {
      public var devices: [Device]

      public init(devices: [Device]) {
        self.devices = devices
      }
    }
  }

  /// The pools, in the order in which they were attached.
  public enum ListPools: VarlinkMethod {
    public static let name = interface + ".ListPools"
    public typealias Parameters = NoParameters

    public struct Reply: Codable, Sendable, Equatable {
      public var pools: [Pool]

      public init(pools: [Pool]) {
        self.pools = pools
      }
    }
  }

  /// One pool with its free memory.
  public enum DescribePool: VarlinkMethod {
    public static let name = interface + ".DescribePool"

    public struct Parameters: VarlinkParameters {
      public var pool: String

      public enum CodingKeys: CodingKey, CaseIterable { case pool }

      public init(pool: String) {
        self.pool = pool
      }
    }

    public struct Reply: Codable, Sendable, Equatable {
      public var pool: Pool
      public var chunks: [Chunk]
      /// The first ``freeRunLimit``, by offset.
      public var freeRuns: [FreeRun]
      /// There are free runs that are not listed.
      public var moreFreeRuns: Bool
      /// By alignment, from the granule upward, as far as anything fits.
      public var largestFree: [LargestFree]

      /// How many free runs are listed at most.
      public static let freeRunLimit = 1024

      public init(
        pool: Pool, chunks: [Chunk], freeRuns: [FreeRun], moreFreeRuns: Bool,
        largestFree: [LargestFree]
      ) {
        self.pool = pool
        self.chunks = chunks
        self.freeRuns = freeRuns
        self.moreFreeRuns = moreFreeRuns
        self.largestFree = largestFree
      }
    }
  }

  /// The leases of the caller's uid; for admins, everyone's.
  public enum ListLeases: VarlinkMethod {
    public static let name = interface + ".ListLeases"

    public struct Parameters: VarlinkParameters {
      /// Only this pool's.
      public var pool: String?

      public enum CodingKeys: CodingKey, CaseIterable { case pool }

      public init(pool: String? = nil) {
        self.pool = pool
      }
    }

    public struct Reply: Codable, Sendable, Equatable {
      public var leases: [Lease]

      public init(leases: [Lease]) {
        self.leases = leases
      }
    }
  }
}
