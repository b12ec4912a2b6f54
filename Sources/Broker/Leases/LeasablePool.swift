package import BrokerProtocol
package import GenPool

/// A pool as the lease policy sees it.
package protocol LeasablePool: AnyObject {
  var id: RegionID { get }
  var name: String { get }
  /// Whether no more is leased of it.
  var isDraining: Bool { get }
  /// The users that may lease of it, and the limits of each.
  var policy: PoolPolicy { get }

  /// The bytes that a lease of `request` takes: whole granules.
  /// - Throws: the error for a request that this pool can never meet, or for any while its device is gone.
  func size(of request: Broker1.Acquire.Parameters) throws(BrokerError) -> ByteCount

  /// Whether other users' processes leave the memory to `user`: it waits while the kernel sees one
  /// that reaches it, and is denied where the kernel cannot tell.
  func occupation(against user: UID) -> LeaseDecision<Void>

  /// Whether all of it has to be erased before `user` may lease: another user's processes, all gone
  /// by now, could write to it.
  func isDirty(for user: UID) -> Bool

  /// Takes clean memory for `user`, from the offset that is returned.
  func take(
    _ size: ByteCount, of request: Broker1.Acquire.Parameters, for user: UID
  ) throws(BrokerError) -> LeaseDecision<ByteCount>

  /// A lease of it begins: its process is about to be given a descriptor.
  func begin(_ lease: LeaseTable.Entry)

  /// The error for an Acquire that others wait ahead of.
  var queued: BrokerError { get }

  /// The error for want of `size` bytes.
  func full(_ size: ByteCount) -> BrokerError

  /// The generation of its next lease.
  func nextGeneration() -> Generation
}

/// The attached pools as the lease policy sees them.
package protocol LeasablePools {
  associatedtype Pool: LeasablePool

  /// In the order in which they were attached.
  var list: [Pool] { get }
  func pool(named name: String) -> Pool?
  /// Those that come once their memory is not in use any more.
  var expected: [ExpectedPool] { get }
}
