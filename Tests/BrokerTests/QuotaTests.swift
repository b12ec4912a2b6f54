import Broker
import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import GenPoolClient
import Glibc
import SystemPackage
import Testing

extension BrokerTests {
  /// How much one user may have.
  struct QuotaTests {
    private static let devices: [MemoryProvider.TestDevice] = [
      .init(address: "0000:01:00.0", size: .mebibytes(1), isolation: .cooperative)
    ]
    private let me = UID(rawValue: getuid())

    private func broker(_ limits: Quotas.Limits) throws -> TestBroker {
      let quotas = Quotas(overrides: [me: limits])
      return try TestBroker(Self.devices, configure: { $0.quotas = quotas })
    }

    private func exceeded(_ what: Broker1.QuotaSubject, _ limit: Int, _ used: Int) -> ReplyError {
      .broker(.quotaExceeded(what: what, limit: limit, used: used))
    }

    @Test func `an override stands for all of the defaults, and root has none of those`() {
      let quotas = Quotas(
        defaults: .init(bytes: 4096, leases: 1),
        overrides: [UID(rawValue: 7): .init(leases: 2), UID(rawValue: 8): .unlimited])
      #expect(quotas.limits(of: UID(rawValue: 6)) == .init(bytes: 4096, leases: 1))
      #expect(quotas.limits(of: UID(rawValue: 7)) == .init(leases: 2))
      #expect(quotas.limits(of: UID(rawValue: 8)) == .unlimited)
      #expect(quotas.limits(of: UID(rawValue: 0)) == .unlimited)
    }

    @Test func `bytes end at the limit, counted in granules`() throws {
      let broker = try broker(.init(bytes: 12288))
      let client = try broker.client()
      #expect(throws: exceeded(.bytes, 12288, 0)) { try client.acquire(12289) }
      let lease = try client.acquire(8192).lease
      #expect(throws: exceeded(.bytes, 12288, 8192)) { try client.acquire(4097) }
      try client.acquire(1)
      #expect(throws: exceeded(.bytes, 12288, 12288)) { try client.acquire(1) }
      try client.release(lease)
      // Not refused while what was released is being zeroed: that comes to an end.
      try client.acquire(8192)
    }

    @Test(arguments: [true, false])
    func `who waits for room in a quota hears that the pool drains, or is lost`(
      isDrained: Bool
    ) throws {
      let broker = try broker(.init(bytes: 8192))
      let held = try broker.client().acquire(8192)
      let waiter = try broker.client()
      try waiter.send(
        Call(
          Broker1.Acquire.self, .init(bytes: 4096, wait: Milliseconds(rawValue: 600_000))
        ).frame())
      if isDrained {
        _ = try broker.admin().call(Broker1.DrainPool.self, .init(pool: "pool0"))
        #expect(throws: ReplyError.broker(.poolDraining(pool: "pool0"))) {
          try waiter.receiveLease()
        }
      } else {
        broker.tell(.removed("0000:01:00.0"))
        let error = #expect(throws: ReplyError.self) { try waiter.receiveLease() }
        #expect("\(error.map { "\($0)" } ?? "")".contains("is revoked"))
      }
      _ = held
    }

    @Test func `leases end at the limit, over all connections`() throws {
      let broker = try broker(.init(leases: 2))
      let (one, other) = try (broker.client(), broker.client())
      let lease = try one.acquire(1).lease
      try other.acquire(1)
      #expect(throws: exceeded(.leases, 2, 2)) { try one.acquire(1) }
      try one.release(lease)
      try other.acquire(1)
    }

    @Test func `what an orphan keeps counts until its process is dead`() throws {
      let broker = try broker(.init(bytes: 8192))
      let process = try TestProcess(broker)
      try process.connection().acquire(8192)
      process.hangUp()
      let client = try broker.client()
      try wait(for: "the orphan") {
        try client.call(Broker1.ListLeases.self, .init()).leases.first?.state == .orphaned
      }
      #expect(throws: exceeded(.bytes, 8192, 8192)) { try client.acquire(1) }
      process.kill()
      try wait(for: "the memory") { (try? client.acquire(8192)) != nil }
    }

    @Test func `a connection too many is told so and closed, and another end makes room`() throws {
      let broker = try broker(.init(connections: 2))
      let first = try broker.client()
      _ = try first.call(Broker1.Hello.self, .init())
      do {
        let second = try broker.client()
        _ = try second.call(Broker1.Hello.self, .init())
        let third = try broker.client()
        #expect(throws: exceeded(.connections, 2, 2)) {
          try third.receive().result(of: Broker1.Hello.self)
        }
        #expect(try third.isClosed())
        for _ in 0..<50 {
          // A real client hears it as the answer to its first call.
          let connection = try Connection(to: BrokerSocket(path: broker.path))
          let error = #expect(throws: ClientError.self) { try connection.hello() }
          #expect(error?.errno.rawValue == EDQUOT)
        }
      }
      try wait(for: "room") { (try? broker.client().call(Broker1.Hello.self, .init())) != nil }
    }

    @Test func `a user may have a quarter of all leases and connections unless more is said`() {
      let all = LeaseBroker.Configuration(version: "")
      let limits = Quotas().limits(of: UID(rawValue: 6))
      #expect(limits == .init(leases: all.leaseLimit / 4, connections: all.connectionLimit / 4))
      #expect(Quotas().limits(of: UID(rawValue: 0)) == .unlimited)
    }

    @Test(.enabled(if: getuid() == 0, "only root can be another user"))
    func `whoever takes all connections, others get in, and root when there are none left`() throws
    {
      let broker = try TestBroker(configure: {
        $0.connectionLimit = 4
        $0.quotas = Quotas(defaults: .init(connections: 2))
      })
      func connect(_ user: Int32) throws -> TestProcess {
        let process = try TestProcess(broker, uid: user)
        _ = try process.connection().call(Broker1.Hello.self, .init())
        return process
      }
      let crowd = try [connect(1001), connect(1001), connect(1002), connect(1003)]
      func refusal(_ user: Int32) throws {
        let process = try TestProcess(broker, uid: user)
        _ = try process.connection().receive().result(of: Broker1.Hello.self)
      }
      #expect(throws: exceeded(.connections, 2, 2)) { try refusal(1001) }
      #expect(throws: exceeded(.allConnections, 4, 4)) { try refusal(1004) }
      let root = try (0..<4).map { _ in try broker.client() }
      for client in root { _ = try client.call(Broker1.Hello.self, .init()) }
      crowd[0].kill()
      try wait(for: "room") { (try? connect(1004)) != nil }
    }

    @Test(.enabled(if: getuid() == 0, "only root can be another user"))
    func `one user's quota is not another's, and root has none`() throws {
      let quotas = Quotas(
        defaults: .init(bytes: 8192, connections: 2),
        overrides: [UID(rawValue: 1002): .init(bytes: 16384)])
      let broker = try TestBroker(Self.devices, configure: { $0.quotas = quotas })
      let alice = try TestProcess(broker, uid: 1001)
      let bob = try TestProcess(broker, uid: 1002)
      try alice.connection().acquire(8192)
      #expect(throws: exceeded(.bytes, 8192, 8192)) { try alice.connection().acquire(1) }
      try bob.connection().acquire(16384)
      #expect(throws: exceeded(.bytes, 16384, 16384)) { try bob.connection().acquire(1) }
      let root = try (0..<4).map { _ in try broker.client() }
      for client in root { try client.acquire(16384) }
      // Another process of hers is her, too.
      let again = try TestProcess(broker, uid: 1001)
      #expect(throws: exceeded(.bytes, 8192, 8192)) { try again.connection().acquire(1) }
      alice.kill()
      try wait(for: "her memory") { (try? again.connection().acquire(8192)) != nil }
    }
  }
}
