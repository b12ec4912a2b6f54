public import GenPool

extension Broker1 {
  /// An attached piece of a BAR, and how full it is. The interface's `Pool`.
  public struct Pool: Codable, Sendable, Equatable {
    public var name: String
    /// The device's address.
    public var device: String
    public var bar: Int
    /// Where in the BAR it begins.
    public var offset: ByteCount
    public var size: ByteCount
    public var physical: PhysicalAddress?
    public var bus: BusAddress?
    public var numaNode: Int?
    public var granule: ByteCount
    /// As `DeviceMemory.Caching` names it.
    public var caching: String
    /// As `DeviceMemory.Isolation` names it.
    public var isolation: String
    public var state: PoolState
    /// The cause for which it is revoked, or waits.
    public var failure: String?
    /// Clean and free.
    public var available: ByteCount
    /// Being scrubbed, or waiting for it.
    public var dirty: ByteCount
    /// In leases.
    public var leased: ByteCount
    /// How many leases it has.
    public var leases: Int
    /// Live processes that were given a descriptor of it.
    public var holders: Int
    /// The largest clean free run.
    public var largestFree: ByteCount
    /// The one user that may lease from it now.
    public var exclusiveUid: UID?
    /// As `DeviceMemory.MemorySource` names it.
    public var source: String?
    /// As `DeviceMemory.MemorySource.Removal` names it.
    public var removal: String?
    /// A `DeviceMemory.Witness`; nil from brokers before there was this.
    public var witness: String?
    /// A `DeviceMemory.WitnessAnswer`; nil from brokers before there was this.
    public var reach: String?
    /// What it has done; nil from brokers before there was this.
    public var statistics: Statistics?
    /// The file, of the broker's, that what it is asked is written to.
    public var recordFile: String?
    /// Why it is not, or not any more, or not where the configuration says now.
    public var recordFailure: String?
    /// The users and groups that may lease of it, beside root and admins; nil for every client.
    public var access: Access?
    /// Whether the caller may, as far as ``access`` goes; nil from brokers before there was this.
    public var mayLease: Bool?

    /// How little of what is available one lease can have: 1 − largest free run / available. 0 when
    /// nothing is.
    public var fragmentation: Double {
      guard available > .zero else { return 0 }
      return 1 - Double(largestFree.rawValue) / Double(available.rawValue)
    }

    public init(
      name: String, device: String, bar: Int, offset: ByteCount, size: ByteCount,
      physical: PhysicalAddress?, bus: BusAddress?, numaNode: Int?, granule: ByteCount,
      caching: String, isolation: String, state: PoolState, failure: String?,
      available: ByteCount, dirty: ByteCount, leased: ByteCount, leases: Int, holders: Int,
      largestFree: ByteCount, exclusiveUid: UID?, source: String? = nil, removal: String? = nil,
      witness: String? = nil, reach: String? = nil, statistics: Statistics? = nil,
      recordFile: String? = nil, recordFailure: String? = nil, access: Access? = nil,
      mayLease: Bool? = nil
    ) {
      self.name = name
      self.device = device
      self.bar = bar
      self.offset = offset
      self.size = size
      self.physical = physical
      self.bus = bus
      self.numaNode = numaNode
      self.granule = granule
      self.caching = caching
      self.isolation = isolation
      self.state = state
      self.failure = failure
      self.available = available
      self.dirty = dirty
      self.leased = leased
      self.leases = leases
      self.holders = holders
      self.largestFree = largestFree
      self.exclusiveUid = exclusiveUid
      self.source = source
      self.removal = removal
      self.witness = witness
      self.reach = reach
      self.statistics = statistics
      self.recordFile = recordFile
      self.recordFailure = recordFailure
      self.access = access
      self.mayLease = mayLease
    }
  }

  /// Users and groups, by name or number. The interface's `Access`.
  public struct Access: Codable, Sendable, Hashable {
    /// Names or numbers of users.
    public var users: [String]
    /// Names or numbers of groups.
    public var groups: [String]

    /// The most users, and the most groups.
    public static let limit = 64

    public init(users: [String] = [], groups: [String] = []) {
      self.users = users
      self.groups = groups
    }
  }

  /// What became of the requests for a pool's memory since it was attached, and how its free memory
  /// lies now. The interface's `Statistics`.
  public struct Statistics: Codable, Sendable, Equatable {
    /// Leases that began.
    public var allocations: Int
    /// Leases that ended.
    public var frees: Int
    /// The most bytes that were ever in leases at once.
    public var peak: ByteCount
    /// Acquires that ended with PoolFull or PoolTooSmall.
    public var failedFull: Int
    /// Acquires that ended with PoolFragmented.
    public var failedFragmented: Int
    /// Maximal runs of clean free granules.
    public var freeRuns: Int
    /// As ``Pool/fragmentation``.
    public var fragmentation: Double

    public init(
      allocations: Int, frees: Int, peak: ByteCount, failedFull: Int, failedFragmented: Int,
      freeRuns: Int, fragmentation: Double
    ) {
      self.allocations = allocations
      self.frees = frees
      self.peak = peak
      self.failedFull = failedFull
      self.failedFragmented = failedFragmented
      self.freeRuns = freeRuns
      self.fragmentation = fragmentation
    }
  }

  /// A contiguous piece of a pool's memory. The interface's `Chunk`.
  public struct Chunk: Codable, Sendable, Equatable {
    public var physical: PhysicalAddress?
    public var bus: BusAddress?
    public var size: ByteCount
    public var available: ByteCount

    public init(
      physical: PhysicalAddress?, bus: BusAddress?, size: ByteCount, available: ByteCount
    ) {
      self.physical = physical
      self.bus = bus
      self.size = size
      self.available = available
    }
  }

  /// A run of clean free granules. The interface's `FreeRun`.
  public struct FreeRun: Codable, Sendable, Equatable {
    /// From the pool's start.
    public var offset: ByteCount
    public var size: ByteCount

    public init(offset: ByteCount, size: ByteCount) {
      self.offset = offset
      self.size = size
    }
  }

  /// The largest lease that an alignment can get now. The interface's `LargestFree`.
  public struct LargestFree: Codable, Sendable, Equatable {
    public var alignment: ByteCount
    public var size: ByteCount

    public init(alignment: ByteCount, size: ByteCount) {
      self.alignment = alignment
      self.size = size
    }
  }
}
