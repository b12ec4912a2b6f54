import Broker
import BrokerProtocol
import DeviceMemory
import Foundation
import GenPool
import LinuxSystem
import Synchronization
import Testing

extension BrokerTests {
  /// A lessee that truncates the file of an emulated BAR: its lease is revoked, and the pool goes on.
  @Suite struct TruncationTests {
    private static let address = "0000:01:00.0"
    private static let attach = Broker1.Attach.Parameters(device: address, bar: 0, name: "pool0")
    private static let other = "0000:02:00.0"

    private static func device(
      _ address: String = address, _ isolation: Isolation = .uidExclusive,
      size: ByteCount = .mebibytes(1)
    ) -> MemoryProvider.TestDevice {
      .init(address: address, size: size, isolation: isolation, isEmulated: true)
    }

    private func length(_ broker: TestBroker, _ address: String = address) throws -> Int {
      var status = stat()
      try #require(unsafe fstat(broker.provider.memory(of: address), &status) == 0)
      return status.st_size
    }

    private func monitor(_ client: TestClient) throws -> TestClient {
      try client.send(Call(Broker1.Monitor.self, .init(), more: true).frame())
      #expect(try client.receive().result(of: Broker1.Monitor.self).event.event == .started)
      return client
    }

    private func revocation(_ monitor: TestClient) throws -> Broker1.Event {
      while true {
        let event = try monitor.receive().result(of: Broker1.Monitor.self).event
        if event.event == .leaseRevoked { return event }
      }
    }

    private func states(_ client: TestClient) throws -> [LeaseID: Broker1.LeaseState] {
      let leases = try client.call(Broker1.ListLeases.self, .init()).leases
      return Dictionary(uniqueKeysWithValues: leases.map { ($0.lease, $0.state) })
    }

    @Test func `the lease of the lessee that truncates is revoked, and the pool goes on`() throws {
      let broker = try TestBroker(
        [Self.device(), Self.device(Self.other)],
        attached: [Self.attach, .init(device: Self.other, bar: 0, name: "other")])
      let client = try broker.client()
      let bystander = try client.acquire(4096, pool: "other")
      let memory = try bystander.map()
      try memory.write([7, 7, 7], at: 0)
      let events = try monitor(broker.client())
      let held = try client.acquire(4096, pool: "pool0")
      let mapped = try held.map()
      #expect(ftruncate(held.descriptor.rawValue, 0) == 0)
      // The next Acquire notices.
      let next = try client.acquire(4096, pool: "pool0")
      let event = try revocation(events)
      #expect(event.lease == held.lease.lease && event.pid == held.lease.pid)
      #expect(event.cause?.contains("truncated the BAR's file to 0") == true)
      #expect(try length(broker) == 1 << 20)
      #expect(try mapped.read(at: 0, count: 3) == [0, 0, 0])
      let states = try states(client)
      #expect(states[held.lease.lease] == .revoked && states[next.lease.lease] == .leased)
      #expect(states[bystander.lease.lease] == .leased)
      #expect(try memory.read(at: 0, count: 3) == [7, 7, 7])
      #expect(try client.pool().state == .active)
      #expect(broker.log.lines("revoke").isEmpty)
      let line = try #require(broker.log.lines("lease revoked").first)
      #expect(line.contains("uid=\(getuid())") && line.contains("pid=\(getpid())"))
      // Its memory comes back like any other's.
      try client.release(held.lease)
      try client.release(next.lease)
      #expect(try client.waitUntilClean().available == .mebibytes(1))
    }

    @Test func `one that truncates and releases is told, and its memory comes back`() throws {
      let broker = try TestBroker([Self.device()])
      let client = try broker.client()
      let events = try monitor(broker.client())
      let held = try client.acquire(.kibibytes(64))
      #expect(ftruncate(held.descriptor.rawValue, 8192) == 0)
      try client.release(held.lease)
      #expect(try revocation(events).lease == held.lease.lease)
      #expect(try client.waitUntilClean().available == .mebibytes(1))
      #expect(try client.pool().state == .active)
    }

    /// Truncates a file again and again, until it is stopped.
    private final class Truncator: Sendable {
      private let isStopped = Atomic(false)
      private let ended = DispatchSemaphore(value: 0)

      init(_ file: CInt, thenTo length: Int?) {
        Thread.detachNewThread { [self] in
          while !isStopped.load(ordering: .relaxed) {
            _ = ftruncate(file, 0)
            if let length { _ = ftruncate(file, length) }
          }
          ended.signal()
        }
      }

      func stop() {
        isStopped.store(true, ordering: .relaxed)
        ended.wait()
      }
    }

    /// With and without the truncator's own restoration, which hides it from fstat(2).
    @Test(arguments: [nil, 64 << 20])
    func `memory that is truncated while it is scrubbed revokes no pool`(restored: Int?) throws {
      let size = ByteCount.mebibytes(64)
      let broker = try TestBroker([Self.device(size: size)])
      let client = try broker.client()
      _ = try client.waitUntilClean()
      let kept = try client.acquire(4096)
      let large = try client.acquire(.mebibytes(32)).lease
      let truncator = Truncator(kept.descriptor.rawValue, thenTo: restored)
      try client.release(large)
      for _ in 0..<20 {
        usleep(10_000)
        #expect(try client.pool().state == .active)
      }
      truncator.stop()
      let clean = try wait(for: "the memory to be clean") {
        let pool = try client.pool()
        return pool.dirty == .zero ? pool : nil
      }
      #expect(clean.available == size - 4096 && clean.state == .active)
      if restored == nil { #expect(try states(client) == [kept.lease.lease: .revoked]) }
    }

    @Test(.enabled(if: getuid() == 0, "only root can be another user"))
    func `of two lessees of a user both leases are revoked, since the kernel names neither`() throws
    {
      let broker = try TestBroker(
        [Self.device(), Self.device(Self.other)],
        attached: [Self.attach, .init(device: Self.other, bar: 0, name: "other")])
      let watcher = try broker.admin()
      let first = try TestProcess(broker, uid: 1001), second = try TestProcess(broker, uid: 1001)
      let bob = try TestProcess(broker, uid: 1002)
      let one = try first.connection().acquire(4096, pool: "pool0")
      let two = try second.connection().acquire(4096, pool: "pool0").lease
      let bobs = try bob.connection().acquire(4096, pool: "other").lease
      #expect(ftruncate(one.descriptor.rawValue, 4096) == 0)
      let extra = try first.connection().acquire(4096, pool: "pool0").lease
      #expect(
        try states(watcher) == [
          one.lease.lease: .revoked, two.lease: .revoked, extra.lease: .leased,
          bobs.lease: .leased,
        ])
      let lines = broker.log.lines("lease revoked")
      #expect(lines.count == 2 && lines.allSatisfy { $0.contains("uid=1001") })
      #expect(lines.contains { $0.contains("pid=\(first.pid)") })
      #expect(lines.contains { $0.contains("pid=\(second.pid)") })
    }

    @Test(.enabled(if: getuid() == 0, "only root can be another user"))
    func `in a cooperative pool the leases of all users are revoked`() throws {
      let broker = try TestBroker([Self.device(Self.address, .cooperative)])
      let watcher = try broker.admin()
      let alice = try TestProcess(broker, uid: 1001), bob = try TestProcess(broker, uid: 1002)
      let one = try alice.connection().acquire(4096)
      let two = try bob.connection().acquire(4096).lease
      #expect(ftruncate(one.descriptor.rawValue, 0) == 0)
      try alice.connection().release(one.lease)
      #expect(try states(watcher)[two.lease] == .revoked)
      #expect(broker.log.lines("truncated").first?.contains("uid=1001, 1002") == true)
    }

    @Test(.enabled(if: getuid() == 0, "only root can be another user"))
    func `another user is served after a lessee has truncated and died`() throws {
      let broker = try TestBroker([Self.device()])
      let alice = try TestProcess(broker, uid: 1001), bob = try TestProcess(broker, uid: 1002)
      do {
        let held = try alice.connection().acquire(4096)
        #expect(ftruncate(held.descriptor.rawValue, 0) == 0)
      }
      alice.kill()
      let lease = try bob.connection().acquire(
        .init(pool: "pool0", bytes: 4096, wait: Milliseconds(rawValue: 5000)))
      #expect(try lease.map().read(at: 0, count: 4096) == [UInt8](repeating: 0, count: 4096))
    }

    @Test func `a device that was removed, and truncated, stays a removal`() throws {
      let broker = try TestBroker([Self.device()])
      let client = try broker.client()
      let events = try monitor(broker.client())
      let held = try client.acquire(4096)
      broker.provider.absent.withLock { $0 = [Self.address] }
      broker.tell(.removed(Self.address))
      #expect(try revocation(events).cause?.contains("was removed") == true)
      #expect(ftruncate(held.descriptor.rawValue, 0) == 0)
      #expect(try client.pool().state == .revoked)
      try client.release(held.lease)
    }
  }
}
