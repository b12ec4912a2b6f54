public import BrokerProtocol
public import DeviceMemory
public import GenPool
import LinuxSystem

/// Device memory that the broker lent: mapped, zeroed at first, and given back exactly once.
///
/// The mapping follows ``DeviceMemory/Mapping``: virtual = physical modulo the largest power of two
/// in its size, and no forked child has it. The end of a lease unmaps the memory, closes the
/// descriptor and then tells the broker. ``release()`` waits for its answer; `deinit` does not.
/// No device may use the memory any more by then.
public struct Lease: ~Copyable, Sendable {
  // Destroyed in the order of declaration: first the memory goes, then the claim to it.

  /// The mapped memory.
  public let region: Region
  /// What the broker said of the lease.
  public let grant: Broker1.Lease
  private var claim: Claim

  init(region: consuming Region, grant: Broker1.Lease, claim: consuming Claim) {
    self.region = region
    self.grant = grant
    self.claim = claim
  }

  /// How long it is, in bytes: what was asked for, rounded up to the pool's granule.
  public var size: ByteCount { grant.size }
  /// Where it starts for the CPU; nil when the broker does not know.
  public var physical: PhysicalAddress? { grant.physical }
  /// Where it starts for other devices, without an IOMMU between; nil when the broker does not
  /// know.
  public var bus: BusAddress? { grant.bus }
  /// Higher each time that the pool's memory is leased again.
  public var generation: Generation { grant.generation }

  /// Asks the broker whether the lease was revoked: its device was removed or failed, or an admin
  /// took it back. Then the memory is overmapped with all-ones and the descriptor closed in its
  /// place, so that nothing here reaches the device any more, or another one that was plugged in at
  /// its address. Memory of a pool whose removal waits (VFIO) **keeps its device from being
  /// removed** until every holder has asked so, released the lease, or ended.
  ///
  /// Nobody is told unasked: a sysfs mapping of a device that has gone goes on reading and writing,
  /// without a fault. Who cares asks now and then, or waits in ``Connection/monitor(_:)`` on
  /// another connection for `leaseRevoked` and asks then. A lease that a pool has taken
  /// (`Pool.add`) cannot ask. Whoever was given the descriptor itself still reaches the device by
  /// it.
  /// - Throws: when the broker does not answer, or the memory cannot be overmapped.
  /// - Complexity: O(leases of this user).
  public func checkRevoked() throws(ClientError) -> Bool {
    guard let connection = claim.connection else { return false }
    let isHeld = try connection.leases().contains {
      $0.lease == grant.lease && $0.state != .revoked
    }
    if isHeld { return false }
    do throws(SystemError) {
      try region.abandon()
    } catch {
      throw .system(error)
    }
    return true
  }

  /// Unmaps the memory, gives it back, and waits until the broker has heard so.
  ///
  /// The broker zeroes it before anyone else gets it. If this throws, the memory is unmapped all
  /// the same, and given back at the latest when this process ends.
  public consuming func release() throws(ClientError) {
    var claim = self.claim
    _ = consume region
    try claim.end()
  }
}

/// The claim to a lease: the broker hears of its end once.
struct Claim: ~Copyable, Sendable {
  private let lease: LeaseID
  private let generation: Generation
  /// Nil once the broker was told.
  fileprivate var connection: Connection?

  init(lease: LeaseID, generation: Generation, connection: Connection) {
    self.lease = lease
    self.generation = generation
    self.connection = connection
  }

  /// Tells the broker and waits for its answer.
  mutating func end() throws(ClientError) {
    guard let connection else { return }
    self.connection = nil
    _ = try connection.call(
      Broker1.Release.self, .init(lease: lease, generation: generation))
  }

  deinit {
    connection?.tell(Broker1.Release.self, .init(lease: lease, generation: generation))
  }
}
