import BrokerLeases
import BrokerProtocol
import GenPool

/// A pool without memory: it counts bytes, and is occupied, dirty or scrubbed as a test says.
final class PlainPool: LeasablePool {
  let id: RegionID
  let name: String
  var isDraining = false
  var policy = PoolPolicy.open
  var available: ByteCount
  /// Ended leases' bytes that a scrubber is about to free.
  var scrubbing = ByteCount.zero
  /// The user that alone may lease.
  var occupant: UID?
  /// Whether nothing will tell when that user's processes have let go.
  var isUnseen = false
  /// The user that could write to it last.
  var lastUser: UID?
  private(set) var holders: [ProcessID] = []
  private let size: ByteCount
  private var generation: Int64 = 0

  init(_ number: Int, _ size: ByteCount) {
    id = RegionID(rawValue: number)
    name = "pool\(number)"
    self.size = size
    available = size
  }

  func size(of request: Broker1.Acquire.Parameters) throws(BrokerError) -> ByteCount {
    guard request.bytes <= size else {
      throw .poolTooSmall(pool: name, bytes: request.bytes, size: size)
    }
    return request.bytes
  }

  func occupation(against user: UID) -> LeaseDecision<Void> {
    guard let occupant, occupant != user else { return .granted(()) }
    func busy(_ reason: Broker1.BusyReason) -> BrokerError {
      .poolBusy(pool: name, reason: reason, uid: occupant, leases: 0, holders: 1)
    }
    if isUnseen { return .denied(busy(.unseen)) }
    return .mustWait(Wait(pools: [id: .lasting], failure: busy(.uidExclusive)))
  }

  func isDirty(for user: UID) -> Bool { lastUser.map { $0 != user } ?? false }

  func take(
    _ size: ByteCount, of request: Broker1.Acquire.Parameters, for user: UID
  ) throws(BrokerError) -> LeaseDecision<ByteCount> {
    guard size <= available else {
      let term: Wait.Term = size <= available + scrubbing ? .brief : .lasting
      return .mustWait(Wait(pools: [id: term], failure: full(size)))
    }
    available -= size
    return .granted(available)
  }

  func begin(_ lease: LeaseTable.Entry) { holders.append(lease.process) }

  var queued: BrokerError {
    .poolBusy(pool: name, reason: .queue, uid: nil, leases: 0, holders: 0)
  }

  func full(_ size: ByteCount) -> BrokerError {
    .poolFull(pool: name, bytes: size, available: available)
  }

  func nextGeneration() -> Generation {
    generation += 1
    return Generation(rawValue: generation)
  }
}

/// Pools in an order.
struct PlainPools: LeasablePools {
  let list: [PlainPool]
  let expected: [ExpectedPool]

  init(_ list: [PlainPool], expected: [ExpectedPool] = []) {
    self.list = list
    self.expected = expected
  }

  func pool(named name: String) -> PlainPool? { list.first { $0.name == name } }
}
