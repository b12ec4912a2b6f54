import Broker
import BrokerLeases
import BrokerProtocol
import DeviceMemory
import Foundation
import GenPool
import LinuxSystem
import Synchronization
import Testing

extension BrokerTests {
  /// Pools that some users and groups alone may lease of.
  @Suite struct AccessTests {
    private static let isRoot = getuid() == 0
    private static let devices: [MemoryProvider.TestDevice] = [
      .init(address: "0000:01:00.0", size: .mebibytes(1), isolation: .cooperative),
      .init(address: "0000:02:00.0", size: .mebibytes(1), isolation: .cooperative),
    ]

    /// `closed`, for uid 1001 and group 2001, and `open`.
    private func broker(
      _ access: Broker1.Access = .init(users: ["1001"], groups: ["2001"]),
      prepare: @escaping @Sendable (LeaseBroker) throws -> Void = { _ in }
    ) throws -> TestBroker {
      try TestBroker(
        Self.devices,
        attached: [
          .init(device: "0000:01:00.0", bar: 0, name: "closed", access: access),
          .init(device: "0000:02:00.0", bar: 0, name: "open"),
        ], prepare: prepare)
    }

    private let denied = ReplyError.broker(
      .poolDenied(pool: "closed", users: ["1001"], groups: ["2001"]))

    @Test(.enabled(if: isRoot, "only root can be another user"))
    func `another user gets no memory of it, by no request, and is told for whom it is`() throws {
      let broker = try broker()
      let bob = try TestProcess(broker, uid: 1002)
      let client = try bob.connection()
      let requests: [Broker1.Acquire.Parameters] = [
        .init(pool: "closed", bytes: 4096),
        .init(pool: "closed", bytes: 4096, wait: Milliseconds(rawValue: 60_000)),
        .init(pool: "closed", bytes: 4096, requestKey: "key"),
        .init(pool: "closed", bytes: 4096, fit: .fixed, offset: .zero),
        // One that it can never have is no way to learn more.
        .init(pool: "closed", bytes: .gibibytes(1)),
      ]
      for request in requests {
        #expect(throws: denied) { try client.acquire(request) }
      }
      let leases = try (0..<2).map { _ in try client.acquire(4096).lease }
      #expect(leases.allSatisfy { $0.pool == "open" }, "what names no pool is served by another")
      #expect(try client.pool("closed").leases == 0)
      #expect(try client.pool("closed").mayLease == false)
      #expect(try client.pool("open").mayLease == true)
      #expect(
        try client.call(Broker1.DescribePool.self, .init(pool: "closed")).pool.mayLease == false)
    }

    @Test(.enabled(if: isRoot, "only root can be another user"))
    func `its users, members of its groups, root and admins get memory`() throws {
      let broker = try broker()
      let alice = try TestProcess(broker, uid: 1001)
      let member = try TestProcess(broker, uid: 1003, group: 2001)
      let ofGroup = try TestProcess(broker, uid: 2001)
      for process in [alice, member, ofGroup] {
        let client = try process.connection()
        #expect(try client.acquire(4096, pool: "closed").lease.pool == "closed")
        #expect(try client.pool("closed").mayLease == true)
      }
      for client in try [broker.client(), broker.admin()] {
        try client.acquire(4096, pool: "closed")
        #expect(try client.pool("closed").mayLease == true)
      }
      let stranger = try TestProcess(broker, uid: 1003, group: 2002)
      #expect(throws: denied) { try stranger.connection().acquire(4096, pool: "closed") }
    }

    @Test(.enabled(if: isRoot, "only root can be another user"))
    func `a pool for nobody is for root and admins`() throws {
      let broker = try broker(.init())
      let alice = try TestProcess(broker, uid: 1001)
      #expect(throws: ReplyError.broker(.poolDenied(pool: "closed", users: [], groups: []))) {
        try alice.connection().acquire(4096, pool: "closed")
      }
      try broker.admin().acquire(4096, pool: "closed")
    }

    @Test(.enabled(if: isRoot, "only root can be another user"))
    func `changed, it holds for those that wait and ask, and no lease ends`() throws {
      let order = try PolicyOrder()
      let broker = try broker(
        .init(users: ["1001", "1002"]), prepare: { try order.watch($0, pool: "closed") })
      let (alice, bob) = try (TestProcess(broker, uid: 1001), TestProcess(broker, uid: 1002))
      let held = try bob.connection().acquire(.mebibytes(1), pool: "closed")
      let waiter = try TestProcess(broker, uid: 1002)
      try waiter.connection().send(
        Call(
          Broker1.Acquire.self,
          .init(pool: "closed", bytes: 4096, wait: Milliseconds(rawValue: 600_000))
        ).frame())
      order.set(
        PoolPolicy(access: PoolAccess(users: [.init(name: "alice", number: 1001)])))
      let denied = ReplyError.broker(.poolDenied(pool: "closed", users: ["alice"], groups: []))
      #expect(throws: denied) { try waiter.connection().receiveLease() }
      #expect(throws: denied) { try bob.connection().acquire(4096, pool: "closed") }
      try held.map().write([1, 2, 3], at: .zero)
      #expect(try bob.connection().leases().map(\.state) == [.leased])
      try bob.connection().release(held.lease)
      try alice.connection().acquire(
        .init(pool: "closed", bytes: 4096, wait: Milliseconds(rawValue: 10_000)))
    }

    @Test func `users and groups that there are not are refused, and nothing is attached`() throws {
      let broker = try TestBroker(Self.devices, attached: [])
      let admin = try broker.admin()
      for access: Broker1.Access in [
        .init(users: ["there-is-no-such-user"]), .init(groups: ["there-is-no-such-group"]),
        .init(users: [""]), .init(users: ["4294967295"]), .init(users: ["-1"]),
        .init(users: (0...64).map(String.init)),
      ] {
        #expect(throws: ReplyError.broker(.invalidParameter(parameter: "access"))) {
          try admin.call(
            Broker1.Attach.self,
            .init(device: "0000:01:00.0", bar: 0, name: "closed", access: access))
        }
      }
      #expect(try admin.call(Broker1.ListPools.self, .init()).pools.isEmpty)
      let pool = try admin.call(
        Broker1.Attach.self,
        .init(
          device: "0000:01:00.0", bar: 0, name: "closed",
          access: .init(users: ["root"], groups: ["0"]))
      ).pool
      #expect(pool.access == .init(users: ["root"], groups: ["0"]) && pool.mayLease == true)
    }

    @Test(.enabled(if: isRoot, "only root can be another user"))
    func `a user's share of a pool is its own limit, and other pools serve beside it`() throws {
      let order = try PolicyOrder()
      let broker = try broker(
        .init(users: ["1001", "1002"]), prepare: { try order.watch($0, pool: "closed") })
      let quotas = Quotas(
        defaults: .init(bytes: 8192), overrides: [UID(rawValue: 1002): .init(leases: 1)])
      order.set(PoolPolicy(quotas: quotas))
      let (alice, bob) = try (TestProcess(broker, uid: 1001), TestProcess(broker, uid: 1002))
      let client = try alice.connection()
      let held = try client.acquire(8192, pool: "closed").lease
      #expect(
        throws: ReplyError.broker(
          .quotaExceeded(what: .bytes, limit: 8192, used: 8192, pool: "closed"))
      ) { try client.acquire(1, pool: "closed") }
      #expect(try client.acquire(4096).lease.pool == "open")
      // A wait for the one pool's share keeps none of the same user from the other pool.
      let waiter = try TestProcess(broker, uid: 1001)
      try waiter.connection().send(
        Call(
          Broker1.Acquire.self,
          .init(pool: "closed", bytes: 4096, wait: Milliseconds(rawValue: 600_000))
        ).frame())
      try client.acquire(4096, pool: "open")
      try bob.connection().acquire(.kibibytes(64), pool: "closed")
      #expect(
        throws: ReplyError.broker(
          .quotaExceeded(what: .leases, limit: 1, used: 1, pool: "closed"))
      ) { try bob.connection().acquire(1, pool: "closed") }
      try client.release(held)
      #expect(try waiter.connection().receiveLease().lease.pool == "closed")
      for _ in 0..<4 { try broker.client().acquire(8192, pool: "closed") }
    }
  }
}

/// Has a running broker give a pool another policy, and waits until it has.
private final class PolicyOrder: Sendable {
  private let event: EventCounter
  private let order = Mutex<PoolPolicy?>(nil)

  init() throws { event = try EventCounter() }

  func watch(_ broker: LeaseBroker, pool: String) throws {
    try broker.watch(event.rawValue) { [self] broker in
      event.clear()
      order.withLock { policy in
        if let wanted = policy.take() { try? broker.setPolicy(wanted, ofPool: pool) }
      }
    }
  }

  func set(_ policy: PoolPolicy) {
    order.withLock { $0 = policy }
    event.raise()
    for _ in 0..<2000 where order.withLock({ $0 != nil }) { usleep(5000) }
    #expect(order.withLock { $0 == nil }, "the broker has not changed the policy")
  }
}
