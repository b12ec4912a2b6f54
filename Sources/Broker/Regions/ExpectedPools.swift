import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import PCIDevices
import Synchronization

/// The pools that are wanted, but whose memory was in use when it was to be attached: the memory of
/// each is opened again, on a thread of its own, until the pool is attached or given up.
///
/// Nothing tells when a process lets go of memory that this broker has not handed out, so a timer
/// decides when to try. One attempt is made at a time, and opening may take as long as a reset.
///
/// Invariant: a pool has either a timer or an attempt under way.
final class ExpectedPools {
  /// A pool that is waited for.
  struct Expectation {
    let id: RegionID
    let name: String
    let request: AttachRequest
    let parameters: Broker1.Attach.Parameters
    /// Less isolation than the opened memory promises, if that is wanted.
    let isolation: Isolation?
    /// The users that may lease of it, and the limits of each.
    fileprivate(set) var policy: PoolPolicy
    let start: ContinuousClock.Instant
    /// The cause of the last failure.
    fileprivate(set) var failure: BrokerError
    /// The time until the next attempt.
    fileprivate var delay: Duration
    /// Nil while an attempt is under way.
    fileprivate var next: (timer: EventLoop.Timer, due: ContinuousClock.Instant)?
  }

  /// An attempt that is over.
  struct Finished: Sendable {
    let id: RegionID
    let result: Result<OpenedMemory, BrokerError>
  }

  /// Memory that an attempt has opened, on its way to the broker's thread. Closed with this object
  /// unless it was taken.
  final class OpenedMemory: Sendable {
    private let memory: Mutex<OpenBAR?>

    fileprivate init(_ open: consuming OpenBAR) { memory = Mutex(open) }

    /// The memory; nil the second time.
    func take() -> OpenBAR? { memory.withLock { $0.take() } }
  }

  private struct Job: Sendable {
    let id: RegionID
    let open: DeviceProvider.Opening
  }

  /// The time until the second attempt.
  private static let firstDelay = Duration.seconds(2)
  /// The longest time between two attempts.
  private static let longestDelay = Duration.seconds(30)
  /// The time between two attempts while an Acquire waits for the pool.
  private static let awaitedDelay = Duration.seconds(1)

  private let loop: EventLoop
  private let provider: any DeviceProvider
  private let worker: Worker<Job, Finished>
  private var expectations: [Expectation] = []

  /// Starts the thread. Calls `handler` on the loop with each attempt that is over, also of pools
  /// that were given up meanwhile.
  init(
    _ provider: any DeviceProvider, on loop: EventLoop, handler: @escaping (Finished) -> Void
  ) throws(SystemError) {
    self.provider = provider
    self.loop = loop
    worker = try Worker(
      on: loop,
      body: { job in
        do throws(BrokerError) {
          let memory = OpenedMemory(try job.open())
          return (Finished(id: job.id, result: .success(memory)), nil)
        } catch {
          return (Finished(id: job.id, result: .failure(error)), nil)
        }
      }, handler: handler)
  }

  // MARK: Queries

  /// In the order in which they began to wait.
  var all: [Expectation] { expectations }

  subscript(id: RegionID) -> Expectation? { expectations.first { $0.id == id } }

  func named(_ name: String) -> Expectation? { expectations.first { $0.name == name } }

  // MARK: Coming and going

  /// Adds a pool whose memory could not be opened for a cause that may pass.
  func add(
    _ id: RegionID, _ name: String, _ request: AttachRequest,
    _ parameters: Broker1.Attach.Parameters, isolation: Isolation?, policy: PoolPolicy,
    because failure: BrokerError
  ) -> Expectation {
    let expectation = Expectation(
      id: id, name: name, request: request, parameters: parameters, isolation: isolation,
      policy: policy, start: .now, failure: failure, delay: Self.firstDelay, next: nil)
    expectations.append(expectation)
    schedule(id, after: Self.firstDelay)
    return expectation
  }

  /// Others may lease of a pool once it has come.
  func setPolicy(_ policy: PoolPolicy, of id: RegionID) {
    if let place = place(of: id) { expectations[place].policy = policy }
  }

  /// Makes no more attempts: the pool is attached or given up.
  func remove(_ id: RegionID) {
    guard let place = place(of: id) else { return }
    if let timer = expectations[place].next?.timer { loop.cancel(timer) }
    expectations.remove(at: place)
  }

  // MARK: Attempts

  /// An attempt has failed for a cause that may pass: another follows.
  /// - Parameter isAwaited: whether an Acquire waits for the pool.
  func postpone(_ id: RegionID, because failure: BrokerError, isAwaited: Bool) {
    guard let place = place(of: id) else { return }
    expectations[place].failure = failure
    let delay = min(expectations[place].delay * 2, Self.longestDelay)
    expectations[place].delay = delay
    schedule(id, after: isAwaited ? Self.awaitedDelay : delay)
  }

  /// An Acquire waits for a pool: the next attempt comes soon.
  func hurry(_ id: RegionID) { hurry(id, Self.awaitedDelay) }

  /// Something of a device has changed: the next attempts for its pools come at once.
  func hurry(device: String) {
    for one in expectations where "\(one.request.memory.device)" == device { hurry(one.id, .zero) }
  }

  private func hurry(_ id: RegionID, _ delay: Duration) {
    guard let next = self[id]?.next, next.due > .now + delay else { return }
    loop.cancel(next.timer)
    schedule(id, after: delay)
  }

  private func schedule(_ id: RegionID, after delay: Duration) {
    guard let place = place(of: id) else { return }
    let timer = loop.after(delay) { [unowned self] in attempt(id) }
    expectations[place].next = (timer, .now + delay)
  }

  private func attempt(_ id: RegionID) {
    guard let place = place(of: id) else { return }
    expectations[place].next = nil
    worker.submit(Job(id: id, open: provider.opening(of: expectations[place].request)))
  }

  private func place(of id: RegionID) -> Int? { expectations.firstIndex { $0.id == id } }
}

extension ExpectedPools.Expectation {
  /// The pool as its clients see it. What only the opened memory tells is "unknown", 0 or nil.
  var description: Broker1.Pool {
    let source = request.source
    let bar: Int? = if case .bar(let index) = request.memory.part { index.rawValue } else { nil }
    return Broker1.Pool(
      name: name, device: "\(request.memory.device)", bar: bar ?? -1,
      offset: request.memory.offset, size: request.memory.size ?? .zero, physical: nil, bus: nil,
      numaNode: nil, granule: parameters.granule ?? .page, caching: "unknown",
      isolation: isolation?.rawValue ?? "unknown", state: .waiting, failure: "\(failure)",
      available: .zero, dirty: .zero, leased: .zero, leases: 0, holders: 0, largestFree: .zero,
      exclusiveUid: nil, source: source.rawValue, removal: source.removal.rawValue,
      access: policy.access?.description)
  }

  /// The pool as the lease policy sees it.
  var pool: ExpectedPool { ExpectedPool(id: id, name: name, access: policy.access) }
}

extension BrokerError {
  /// Whether time may mend what kept memory from being attached: another process, the kernel or
  /// another part of the device has it, or the system is short of something. Everything else is a
  /// mistake, or takes an admin.
  ///
  /// A record of memory that an earlier run lent counts as well: it is void once the kernel answers
  /// for its source.
  var mayPass: Bool {
    guard case .deviceError(_, _, let errno, _) = self else { return false }
    return [EBUSY, EAGAIN, ENOMEM, EMFILE, ENFILE].contains(errno)
  }
}
