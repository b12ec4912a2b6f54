import Broker
import BrokerProtocol
import CTestProcess
import DeviceMemory
import Foundation
import GenPool
import LinuxSystem
import Synchronization
import Testing

extension BrokerTests {
  /// Memory whose kernel answers for each lease apart, as sysfs's does.
  @Suite struct PerLeaseTests {
    private static let device = MemoryProvider.TestDevice(
      address: "0000:01:00.0", size: .mebibytes(1), witness: .perLease)

    private func states(_ client: TestClient) throws -> [Broker1.LeaseState] {
      try client.leases().map(\.state)
    }

    @Test func `released memory that is still mapped is leased to no one`() throws {
      let broker = try TestBroker([Self.device])
      let client = try broker.admin()
      var region: Region?
      do {
        let held = try client.acquire(.mebibytes(1))
        region = try held.map()
        try client.release(held.lease)
      }
      #expect(try states(client) == [.reached])
      #expect(try client.pool().available == .zero && client.pool().leases == 0)
      #expect(throws: ReplyError.self) { try client.acquire(4096) }
      #expect(throws: ReplyError.self) {
        try client.call(Broker1.Detach.self, .init(pool: "pool0"))
      }
      try region?.write([1, 2, 3], at: 0)
      region = nil
      let next = try client.acquire(
        .init(pool: "pool0", bytes: .mebibytes(1), wait: Milliseconds(rawValue: 5000)))
      #expect(try next.map().read(at: 0, count: 3) == [0, 0, 0], "erased after the last store")
    }

    @Test func `a lease that is let go of does not wait for another`() throws {
      let broker = try TestBroker([Self.device])
      let client = try broker.client()
      let kept = try client.acquire(.kibibytes(512))
      for _ in 0..<3 {
        let lease = try client.acquire(.kibibytes(512)).lease
        try client.release(lease)
        #expect(try client.waitUntilClean().available == .kibibytes(512))
      }
      #expect(try states(client) == [.leased])
      _ = kept
    }

    @Test func `a lease that was opened twice is reached until both are gone`() throws {
      let broker = try TestBroker([Self.device])
      let client = try broker.client()
      let request = Broker1.Acquire.Parameters(
        pool: "pool0", bytes: 4096, requestKey: "again")
      let first = try client.acquire(request)
      var second: TestClient.Held? = try client.acquire(request)
      #expect(second?.lease.lease == first.lease.lease)
      try client.release(first.lease)
      #expect(try states(client) == [.reached])
      _ = second?.lease.size
      second = nil
      #expect(try states(client) == [.reached], "the first is there")
      _ = first.lease.size
    }

    @Test(.enabled(if: getuid() == 0, "only root can be another user"))
    func `another user waits for what a dead process passed on, and no longer`() throws {
      let broker = try TestBroker([Self.device])
      let watcher = try broker.admin()
      let alice = try TestProcess(broker, uid: 1001), bob = try TestProcess(broker, uid: 1002)
      // The descriptor is this process's as well: what a child would have.
      var held: TestClient.Held? = try alice.connection().acquire(4096)
      alice.kill()
      try wait(for: "alice's end") { try states(watcher) == [.reached] }
      let pool = try watcher.pool()
      #expect(pool.exclusiveUid == UID(rawValue: 1001) && pool.reach == "reached")
      #expect(
        throws: ReplyError.broker(
          .poolBusy(
            pool: "pool0", reason: .uidExclusive, uid: UID(rawValue: 1001), leases: 0, holders: 1))
      ) { try bob.connection().acquire(4096) }
      _ = held?.lease.size
      held = nil
      let lease = try bob.connection().acquire(
        .init(pool: "pool0", bytes: 4096, wait: Milliseconds(rawValue: 5000))
      ).lease
      #expect(lease.uid == UID(rawValue: 1002))
    }

    @Test func `a process that holds many leases dies without stopping others`() throws {
      let broker = try TestBroker([
        .init(address: "0000:01:00.0", size: .mebibytes(64), witness: .perLease)
      ])
      let watcher = try broker.admin()
      _ = try watcher.waitUntilClean()
      let process = try TestProcess(broker)
      for _ in 0..<500 { _ = try process.connection().acquire(4096) }
      process.kill()
      try wait(for: "all leases to end") { try states(watcher).isEmpty }
      #expect(try watcher.waitUntilClean().available == .mebibytes(64))
      #expect(try watcher.pool().reach == "free")
    }

    @Test func `leases that outlive their process are asked about a few at a time`() throws {
      let broker = try TestBroker([
        .init(address: "0000:01:00.0", size: .mebibytes(64), witness: .perLease)
      ])
      let watcher = try broker.admin()
      let process = try TestProcess(broker)
      var descriptors: [CInt] = []
      defer { for descriptor in descriptors { close(descriptor) } }
      for _ in 0..<500 {
        let held = try process.connection().acquire(4096)
        descriptors.append(dup(held.descriptor.rawValue))
      }
      let clock = ContinuousClock()
      let time = try clock.measure {
        process.kill()
        try wait(for: "all leases to end") {
          try states(watcher).allSatisfy { $0 == .reached }
        }
      }
      // Once each, and then 64 in 20 ms.
      let rounds = 2 + Int(time / Duration.milliseconds(20))
      let questions = broker.provider.questions.load(ordering: .relaxed)
      #expect(questions <= 500 + 64 * rounds, "\(questions) questions in \(time)")
    }

    @Test func `a lease is sent four times at most`() throws {
      let broker = try TestBroker([Self.device])
      let client = try broker.client()
      let request = Broker1.Acquire.Parameters(pool: "pool0", bytes: 4096, requestKey: "again")
      for _ in 0..<4 { _ = try client.acquire(request) }
      let error = #expect(throws: ReplyError.self) { try client.acquire(request) }
      guard case .broker(.deviceError(_, _, EDQUOT, _)) = error else {
        Issue.record("refused with \(String(describing: error))")
        return
      }
      #expect(try states(client) == [.leased])
    }

    @Test func `a client that does not read has one descriptor on the way to it`() throws {
      let broker = try TestBroker([Self.device])
      let watcher = try broker.admin()
      let client = try broker.client()
      let call = try Call(Broker1.Acquire.self, .init(pool: "pool0", bytes: 4096)).frame()
      for _ in 0..<3 { try client.send(call) }
      for _ in 0..<3 { _ = try client.receiveLease() }
      #expect(try watcher.pool().leases == 3)
    }

    @Test func `a device that was removed is forgotten once nothing of a lease is left`() throws {
      let broker = try TestBroker([Self.device])
      let client = try broker.client()
      var held: TestClient.Held? = try client.acquire(4096)
      broker.provider.absent.withLock { $0 = ["0000:01:00.0"] }
      broker.tell(.removed("0000:01:00.0"))
      try wait(for: "the revocation") { try client.pool().state == .revoked }
      usleep(600_000)
      #expect(try client.pool().state == .revoked, "its lessee has it mapped, perhaps")
      _ = held?.lease.size
      held = nil
      try wait(for: "the pool's end") {
        try client.call(Broker1.ListPools.self, .init()).pools.isEmpty
      }
    }
  }
}
