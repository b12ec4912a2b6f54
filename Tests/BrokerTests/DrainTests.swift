import Broker
import BrokerProtocol
import DeviceMemory
import Foundation
import GenPool
import GenPoolClient
import LinuxSystem
import Synchronization
import SystemPackage
import Testing

extension BrokerTests {
  /// DrainPool: no more is leased, what is leased stays, and a drained pool can be detached.
  @Suite struct DrainTests {
    private func drain(
      _ client: TestClient, _ name: String = "pool0", undo: Bool? = nil
    ) throws -> Broker1.Pool {
      try client.call(Broker1.DrainPool.self, .init(pool: name, undo: undo)).pool
    }

    private func monitor(_ broker: TestBroker) throws -> TestClient {
      let client = try broker.client()
      try client.send(Call(Broker1.Monitor.self, .init(), more: true).frame())
      #expect(try next(client) == .started)
      return client
    }

    private func next(_ monitor: TestClient) throws -> Broker1.EventName {
      try monitor.receive().result(of: Broker1.Monitor.self).event.event
    }

    private let draining = ReplyError.broker(.poolDraining(pool: "pool0"))

    @Test func `an idle pool is drained at once, leases nothing, and is detached`() throws {
      let broker = try TestBroker()
      let (client, admin) = try (broker.client(), broker.admin())
      _ = try client.waitUntilClean()
      let monitor = try monitor(broker)
      #expect(try drain(admin).state == .drained)
      #expect(try client.pool().state == .drained)
      #expect(throws: draining) { try client.acquire(4096) }
      #expect(throws: draining) { try client.acquire(4096, pool: "pool0") }
      #expect(throws: draining) { try admin.acquire(4096, pool: "pool0") }
      #expect(try drain(admin).state == .drained, "once more changes nothing")
      _ = try admin.call(Broker1.Detach.self, .init(pool: "pool0"))
      #expect(
        try [next(monitor), next(monitor), next(monitor)] == [
          .regionDraining, .regionDrained, .regionRemoved,
        ])
      let again = try admin.call(
        Broker1.Attach.self, .init(device: "0000:01:00.0", bar: 0, name: "pool0")
      ).pool
      #expect(again.state == .active)
      try client.acquire(4096)
    }

    @Test func `leases that are held stay, and the pool is drained when the last has ended`() throws
    {
      let broker = try TestBroker()
      let (client, admin) = try (broker.client(), broker.admin())
      let first = try client.acquire(4096)
      let second = try client.acquire(4096)
      let monitor = try monitor(broker)
      #expect(try drain(admin).state == .draining)
      #expect(throws: draining) { try client.acquire(4096) }
      try first.map().write([1, 2, 3], at: .zero)
      try client.release(first.lease)
      #expect(try client.pool().state == .draining)
      #expect(throws: ReplyError.self) {
        try admin.call(Broker1.Detach.self, .init(pool: "pool0"))
      }
      try client.release(second.lease)
      _ = consume first
      _ = consume second
      #expect(try next(monitor) == .regionDraining)
      // This process lives, and was lent descriptors: the provider answers when they are gone.
      try wait(for: "the pool to be drained") { try client.pool().state == .drained }
      #expect(try next(monitor) == .regionDrained)
      _ = try admin.call(Broker1.Detach.self, .init(pool: "pool0"))
    }

    @Test func `a pool is drained when the process that held its leases has died`() throws {
      let broker = try TestBroker()
      let admin = try broker.admin()
      let process = try TestProcess(broker)
      _ = try process.connection().acquire(4096)
      let monitor = try monitor(broker)
      #expect(try drain(admin).state == .draining)
      process.kill()
      #expect(try [next(monitor), next(monitor)] == [.regionDraining, .regionDrained])
      #expect(try admin.pool().state == .drained)
    }

    @Test func `those that wait for its memory are told`() throws {
      let broker = try TestBroker()
      let (client, admin) = try (broker.client(), broker.admin())
      let held = try client.acquire(.mebibytes(1))
      let waiters = try (0..<3).map { index in
        let waiter = try broker.client()
        let parameters = Broker1.Acquire.Parameters(
          pool: index == 0 ? nil : "pool0", bytes: 4096, wait: Milliseconds(rawValue: 600_000))
        try waiter.send(Call(Broker1.Acquire.self, parameters).frame())
        return waiter
      }
      _ = try drain(admin)
      for waiter in waiters {
        #expect(throws: draining) { try waiter.receiveLease() }
      }
      _ = held
    }

    @Test func `undone, it leases again, and those that ask no pool get its memory`() throws {
      let broker = try TestBroker()
      let (client, admin) = try (broker.client(), broker.admin())
      let held = try client.acquire(4096)
      let monitor = try monitor(broker)
      _ = try drain(admin)
      #expect(try drain(admin, undo: true).state == .active)
      #expect(try drain(admin, undo: true).state == .active, "once more changes nothing")
      let second = try client.acquire(4096).lease.lease
      #expect(try [next(monitor), next(monitor)] == [.regionDraining, .regionResumed])
      try client.release(held.lease)
      // Its end is no end of a drain that was undone.
      _ = try admin.call(Broker1.ForceRelease.self, .init(lease: second))
      #expect(try next(monitor) == .leaseRevoked)
    }

    @Test func `another pool serves those that name none`() throws {
      let devices = ["0000:01:00.0", "0000:02:00.0"].map {
        MemoryProvider.TestDevice(address: $0, size: .mebibytes(1))
      }
      let broker = try TestBroker(
        devices,
        attached: devices.enumerated().map {
          .init(device: $1.address, bar: 0, name: "pool\($0)")
        })
      _ = try drain(broker.admin())
      #expect(try broker.client().acquire(4096).lease.pool == "pool1")
      #expect(throws: draining) { try broker.client().acquire(4096, pool: "pool0") }
    }

    @Test func `it is for admins, and for a pool that there is`() throws {
      let broker = try TestBroker()
      #expect(throws: ReplyError.broker(.permissionDenied)) { try drain(broker.client()) }
      #expect(throws: ReplyError.broker(.noSuchPool(pool: "attic"))) {
        try drain(broker.admin(), "attic")
      }
      #expect(try broker.client().pool().state == .active)
    }

    @Test func `what the configuration keeps does not undo an admin's drain`() throws {
      // A reload calls keep(pool:) for each pool that it wants and that is there.
      let kept = try EventCounterBox()
      let broker = try TestBroker(prepare: { broker in
        try broker.watch(kept.descriptor) { broker in
          kept.clear()
          try? broker.keep(pool: "pool0")
        }
      })
      let admin = try broker.admin()
      #expect(try drain(admin).state == .drained)
      kept.raise()
      try wait(for: "the reload") { kept.isClear }
      #expect(try admin.pool().state == .drained)
      #expect(throws: draining) { try admin.acquire(4096) }
    }

    @Test func `a drain outlives the end of its pool, until an admin undoes it`() throws {
      // A reload gives the pool up, and another attaches it.
      let reload = try EventCounterBox()
      let broker = try TestBroker(prepare: { broker in
        try broker.watch(reload.descriptor) { broker in
          reload.clear()
          _ = try? broker.drain(pool: "pool0")
          _ = try? broker.attach(.init(device: "0000:01:00.0", bar: 0, name: "pool0"))
        }
      })
      let admin = try broker.admin()
      let monitor = try monitor(broker)
      _ = try admin.call(Broker1.Detach.self, .init(pool: "pool0"))
      _ = try admin.call(
        Broker1.Attach.self, .init(device: "0000:01:00.0", bar: 0, name: "pool0"))
      #expect(try drain(admin).state == .drained)
      reload.raise()
      try wait(for: "the reload") { reload.isClear }
      #expect(try admin.pool().state == .drained)
      #expect(throws: draining) { try admin.acquire(4096) }
      #expect(
        try (0..<7).map { _ in try next(monitor) } == [
          .regionRemoved, .regionAdded, .regionDraining, .regionDrained, .regionRemoved,
          .regionAdded, .regionDraining,
        ])
      #expect(try drain(admin, undo: true).state == .active)
      reload.raise()
      try wait(for: "the reload") { reload.isClear }
      #expect(try admin.pool().state == .active)
      try admin.acquire(4096)
    }

    @Test func `a drain is undone while its pool is revoked or not attached`() throws {
      let reload = try EventCounterBox()
      let broker = try TestBroker(prepare: { broker in
        try broker.watch(reload.descriptor) { broker in
          reload.clear()
          do {
            _ = try broker.attach(.init(device: "0000:01:00.0", bar: 0, name: "pool0"))
          } catch {
            _ = try? broker.drain(pool: "pool0")
          }
        }
      })
      func configure() throws {
        reload.raise()
        try wait(for: "the reload") { reload.isClear }
      }
      let admin = try broker.admin()
      #expect(throws: ReplyError.broker(.noSuchPool(pool: "pool1"))) {
        try drain(admin, "pool1", undo: true)
      }
      // Given up, and attached anew.
      _ = try drain(admin)
      try configure()
      #expect(try admin.list(Broker1.ListPools.self, .init()).flatMap(\.pools).isEmpty)
      let absent = try drain(admin, undo: true)
      #expect(absent.state == .revoked && absent.failure?.contains("not attached") == true)
      #expect(throws: ReplyError.broker(.noSuchPool(pool: "pool0"))) {
        try drain(admin, undo: true)
      }
      try configure()
      #expect(try admin.pool().state == .active)
      // Held, and its device goes.
      let held = try admin.acquire(4096)
      _ = try drain(admin)
      broker.tell(.removed("0000:01:00.0"))
      try wait(for: "the revocation") { try admin.pool().state == .revoked }
      #expect(try drain(admin, undo: true).state == .revoked)
      #expect(throws: ReplyError.self) { try drain(admin, undo: true) }
      _ = consume held
      try wait(for: "the pool's end") {
        try admin.list(Broker1.ListPools.self, .init()).flatMap(\.pools).isEmpty
      }
      try configure()
      #expect(try admin.pool().state == .active)
    }

    @Test func `an Attach that fails does not end a drain`() throws {
      let reload = try EventCounterBox()
      let broker = try TestBroker(
        prepare: { broker in
          try broker.watch(reload.descriptor) { broker in
            reload.clear()
            do {
              _ = try broker.attach(.init(device: "0000:01:00.0", bar: 0, name: "pool0"))
            } catch {
              _ = try? broker.drain(pool: "pool0")
            }
          }
        })
      let admin = try broker.admin()
      _ = try drain(admin)
      reload.raise()
      try wait(for: "the reload") { reload.isClear }
      // Its memory is opened, and is less than a granule.
      #expect(throws: ReplyError.self) {
        try admin.call(
          Broker1.Attach.self,
          .init(device: "0000:01:00.0", bar: 0, granule: .mebibytes(64), name: "pool0"))
      }
      reload.raise()
      try wait(for: "the reload") { reload.isClear }
      #expect(try admin.pool().state == .drained)
    }

    @Test func `a pool of which the kernel cannot tell is not said to be drained`() throws {
      let broker = try TestBroker([
        .init(address: "0000:01:00.0", size: .mebibytes(1), witness: Witness.none)
      ])
      let admin = try broker.admin()
      let process = try TestProcess(broker)
      _ = try process.connection().acquire(4096)
      #expect(try drain(admin).state == .draining)
      process.kill()
      try wait(for: "the holder's end") { try admin.pool().holders == 0 }
      let pool = try admin.pool()
      #expect(pool.leases == 0 && pool.reach == "unknown" && pool.state == .draining)
      #expect(broker.log.lines("drained").isEmpty)
      let reply = try admin.call(Broker1.Detach.self, .init(pool: "pool0"))
      #expect(reply.unseenUid != nil)
    }

    @Test func `a program drains, waits and resumes through the client library`() throws {
      let broker = try TestBroker()
      let admin = try Connection(to: BrokerSocket(path: broker.path).admin)
      let events = try Connection(to: BrokerSocket(path: broker.path)).events()
      #expect(try admin.drain(pool: "pool0").state == .drained)
      #expect(try admin.resume(pool: "pool0").state == .active)
      var heard: [Broker1.EventName] = []
      try wait(for: "three events") {
        while let event = try events.next() { heard.append(event.event) }
        return heard.count >= 3
      }
      #expect(heard == [.regionDraining, .regionDrained, .regionResumed])
      let error = #expect(throws: ClientError.self) { try admin.drain(pool: "attic") }
      #expect(error?.errno == .noSuchFileOrDirectory)
    }
  }
}

/// A counter that a broker's thread and a test's share.
final class EventCounterBox: Sendable {
  private let event: EventCounter
  private let isRaised = Mutex(false)

  init() throws { event = try EventCounter() }

  var descriptor: CInt { event.rawValue }

  var isClear: Bool { isRaised.withLock { !$0 } }

  func raise() {
    isRaised.withLock { $0 = true }
    event.raise()
  }

  func clear() {
    event.clear()
    isRaised.withLock { $0 = false }
  }
}
