import Broker
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import Synchronization
import Testing

extension BrokerTests {
  /// Pools whose memory is in use when they are to be attached.
  struct ExpectedPoolTests {
    private static let address = "0000:01:00.0"
    private static let attach = Broker1.Attach.Parameters(
      device: address, bar: 0, size: .kibibytes(512), granule: .kibibytes(64), name: "pool0")
    private static let busy = BrokerError.deviceError(
      operation: "lock", subject: "BAR 0 of \(address)", errno: EBUSY,
      cause: "a process has it open")
    private static let waiting = ReplyError.broker(
      .poolBusy(pool: "pool0", reason: .waiting, uid: nil, leases: 0, holders: 0))

    /// A broker that wants a pool of a device whose memory is in use, and the refusals that it got
    /// when it was to wait.
    private final class Expecting: Sendable {
      private let refused = Mutex<[BrokerError]>([])

      var refusals: [BrokerError] { refused.withLock { $0 } }

      func broker(
        failing failure: BrokerError = busy, witness: WitnessAnswer? = nil
      ) throws -> TestBroker {
        let broker = try TestBroker(
          [.init(address: address, size: .mebibytes(1))], attached: [],
          prepare: { broker in
            broker.onDeviceReady = { broker, _ in
              do throws(BrokerError) {
                _ = try broker.attachWhenFree(attach)
              } catch {
                self.refused.withLock { $0.append(error) }
              }
            }
          })
        if let witness {
          broker.provider.witnessesAtOpening.withLock { $0[address] = witness }
        } else {
          broker.provider.failures.withLock { $0[address] = failure }
        }
        broker.tell(.added(address))
        return broker
      }

      /// The same, once the pool is listed.
      func waitingBroker() throws -> (broker: TestBroker, client: TestClient) {
        let broker = try broker()
        let client = try broker.admin()
        try wait(for: "the pool") { try !ExpectedPoolTests.pools(client).isEmpty }
        return (broker, client)
      }
    }

    private static func pools(_ client: TestClient) throws -> [Broker1.Pool] {
      try client.list(Broker1.ListPools.self, .init()).flatMap(\.pools)
    }

    @Test func `it is listed as waiting, with the cause and what was asked for`() throws {
      let (broker, client) = try Expecting().waitingBroker()
      let pool = try client.pool()
      #expect(pool.state == .waiting)
      #expect(pool.failure?.contains("a process has it open") == true)
      #expect(pool.device == Self.address && pool.bar == 0 && pool.size == .kibibytes(512))
      #expect(pool.granule == .kibibytes(64) && pool.available == .zero && pool.reach == nil)
      let described = try client.call(Broker1.DescribePool.self, .init(pool: "pool0"))
      #expect(described.pool == pool && described.freeRuns.isEmpty)
      #expect(try client.call(Broker1.ListLeases.self, .init(pool: "pool0")).leases.isEmpty)
      #expect(broker.log.lines("waiting").count == 1)
      #expect(broker.provider.openCount.value == 0)
    }

    @Test(arguments: ["pool0", nil])
    func `an Acquire is refused, or waits and gets the memory when it comes`(name: String?) throws {
      let (broker, client) = try Expecting().waitingBroker()
      #expect(throws: Self.waiting) { try client.acquire(4096, pool: name) }
      #expect(throws: Self.waiting) {
        try client.acquire(.init(pool: name, bytes: 4096, wait: Milliseconds(rawValue: 50)))
      }
      #expect(throws: ReplyError.broker(.noSuchPool(pool: "other"))) {
        try client.acquire(4096, pool: "other")
      }
      let monitor = try broker.client()
      try monitor.send(Call(Broker1.Monitor.self, .init(), more: true).frame())
      _ = try monitor.receive()
      try client.send(
        Call(
          Broker1.Acquire.self,
          .init(pool: name, bytes: 4096, wait: Milliseconds(rawValue: 60_000))
        ).frame())
      // Some attempts are in vain.
      usleep(1_500_000)
      broker.provider.failures.withLock { $0 = [:] }
      // TestClient waits 10 s: ten times as long as the broker does between two attempts.
      #expect(try client.receiveLease().lease.pool == "pool0")
      let event = try monitor.receive().result(of: Broker1.Monitor.self).event
      #expect(event == Broker1.Event(event: .regionAdded, pool: "pool0"))
      #expect(try client.pool().state == .active)
      #expect(broker.log.lines("waiting").count == 1, "one line, not one an attempt")
      #expect(broker.log.lines("attach").count == 1)
      #expect(broker.log.lines("attach").first?.contains("waited=") == true)
    }

    @Test func `it is attached without an Acquire, and when its device is plugged in`() throws {
      let (broker, client) = try Expecting().waitingBroker()
      broker.provider.failures.withLock { $0 = [:] }
      try wait(for: "the second attempt") { try client.pool().state == .active }
      let (other, watcher) = try Expecting().waitingBroker()
      other.provider.failures.withLock { $0 = [:] }
      other.tell(.added(Self.address))
      try wait(for: "the device") { try watcher.pool().state == .active }
      #expect(try Self.pools(watcher).count == 1)
    }

    @Test func `memory that a witness sees reached is waited for, and closed meanwhile`() throws {
      let expecting = Expecting()
      let broker = try expecting.broker(witness: .reached)
      let client = try broker.admin()
      try wait(for: "the pool") { try !Self.pools(client).isEmpty }
      #expect(try client.pool().failure?.contains("still maps memory of its BAR") == true)
      #expect(broker.provider.openCount.value == 0)
      // An attempt that opens it is undone as well.
      broker.tell(.added(Self.address))
      usleep(100_000)
      try wait(for: "the attempt's end") { broker.provider.openCount.value == 0 }
      #expect(try client.pool().state == .waiting)
      broker.provider.witnessesAtOpening.withLock { $0 = [:] }
      try wait(for: "the pool") { try client.pool().state == .active }
    }

    @Test(arguments: [EPERM, EINVAL, ENODEV, EADDRINUSE])
    func `a mistake is not waited for`(number: CInt) throws {
      let expecting = Expecting()
      let failure = BrokerError.deviceError(
        operation: "map", subject: "x", errno: number, cause: nil)
      let broker = try expecting.broker(failing: failure)
      let client = try broker.admin()
      try wait(for: "the refusal") { !expecting.refusals.isEmpty }
      #expect(expecting.refusals == [failure])
      #expect(try Self.pools(client).isEmpty)
      #expect(throws: ReplyError.broker(.noPool)) { try client.acquire(4096) }
    }

    @Test func `what turns out to be a mistake is given up, and who waited is told`() throws {
      let (broker, client) = try Expecting().waitingBroker()
      try client.send(
        Call(
          Broker1.Acquire.self,
          .init(pool: "pool0", bytes: 4096, wait: Milliseconds(rawValue: 60_000))
        ).frame())
      broker.provider.failures.withLock {
        $0[Self.address] = .deviceError(operation: "map", subject: "x", errno: EPERM, cause: nil)
      }
      #expect(throws: ReplyError.broker(.noSuchPool(pool: "pool0"))) { try client.receiveLease() }
      #expect(broker.log.lines("cannot attach").count == 1)
      #expect(try Self.pools(client).isEmpty)
    }

    @Test func `an admin ends it by its name`() throws {
      let (broker, client) = try Expecting().waitingBroker()
      #expect(throws: ReplyError.broker(.permissionDenied)) {
        try broker.client().call(Broker1.Detach.self, .init(pool: "pool0"))
      }
      #expect(
        try client.call(Broker1.Detach.self, .init(pool: "pool0")) == Broker1.Detach.Reply())
      #expect(try Self.pools(client).isEmpty)
      broker.provider.failures.withLock { $0 = [:] }
      usleep(2_500_000)
      #expect(try Self.pools(client).isEmpty, "its timer has ended")
      #expect(broker.log.lines("waits no longer").count == 1)
    }

    @Test func `an admin's Attach takes its place, but for other memory not its name`() throws {
      let (broker, client) = try Expecting().waitingBroker()
      #expect(throws: ReplyError.broker(Self.busy)) {
        try client.call(Broker1.Attach.self, Self.attach)
      }
      broker.provider.failures.withLock { $0 = [:] }
      for change: (inout Broker1.Attach.Parameters) -> Void in [
        { $0.size = .mebibytes(1) }, { $0.granule = nil },
      ] {
        var other = Self.attach
        change(&other)
        #expect(throws: ReplyError.broker(.poolExists(pool: "pool0"))) {
          try client.call(Broker1.Attach.self, other)
        }
      }
      _ = try client.call(Broker1.Attach.self, Self.attach)
      #expect(try Self.pools(client).map(\.state) == [.active])
    }

    @Test func `a broker that ends with attempts under way gives all back`() throws {
      let (broker, _) = try Expecting().waitingBroker()
      let count = broker.provider.openCount
      broker.provider.failures.withLock { $0 = [:] }
      broker.tell(.added(Self.address))
      broker.stop()
      #expect(count.value == 0)
    }
  }
}
