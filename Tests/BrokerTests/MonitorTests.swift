import Broker
import BrokerLeases
import BrokerProtocol
import CTestProcess
import DeviceMemory
import Foundation
import GenPool
import GenPoolClient
import Testing

extension BrokerTests {
  /// Monitor and ForceRelease.
  struct MonitorTests {
    /// A connection that monitors.
    private func monitor(_ client: TestClient) throws -> TestClient {
      try client.send(Call(Broker1.Monitor.self, .init(), more: true).frame())
      #expect(try next(client) == Broker1.Event(event: .started))
      return client
    }

    private func next(_ client: TestClient) throws -> Broker1.Event {
      let reply = try client.receive()
      let event = try reply.result(of: Broker1.Monitor.self).event
      #expect(reply.continues)
      return event
    }

    @Test func `it needs more`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      #expect(throws: ReplyError.broker(.expectedMore)) {
        try client.call(Broker1.Monitor.self, .init())
      }
      _ = try client.call(Broker1.Hello.self, .init())
    }

    @Test func `pools that come and go are told to all monitors`() throws {
      let broker = try TestBroker(attached: [])
      let monitors = try (0..<3).map { _ in try monitor(broker.client()) }
      let client = try broker.admin()
      _ = try client.call(
        Broker1.Attach.self, .init(device: "0000:01:00.0", bar: 0, name: "pool0"))
      _ = try client.waitUntilClean()
      _ = try client.call(Broker1.Detach.self, .init(pool: "pool0"))
      for monitor in monitors {
        #expect(try next(monitor) == Broker1.Event(event: .regionAdded, pool: "pool0"))
        #expect(try next(monitor) == Broker1.Event(event: .regionRemoved, pool: "pool0"))
      }
    }

    @Test func `memory that is being zeroed is no pressure`() throws {
      let broker = try TestBroker([.init(address: "0000:01:00.0", size: .mebibytes(256))])
      let client = try broker.client()
      let monitor = try monitor(broker.client())
      // It is served from the first slices, while most of the pool is dirty.
      let lease = try client.acquire(.init(bytes: 4096, wait: Milliseconds(rawValue: 5000))).lease
      try client.release(lease)
      _ = try client.waitUntilClean()
      try client.acquire(.mebibytes(255))
      #expect(try next(monitor).available == .mebibytes(1))
    }

    @Test func `pressure is told once until leases had no more than three quarters`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      _ = try client.waitUntilClean()
      let monitor = try monitor(broker.client())
      try client.acquire(.kibibytes(896))
      let last = try client.acquire(4096).lease
      try client.acquire(4096)
      try client.release(last)
      _ = try client.waitUntilClean()
      try client.acquire(4096)
      let added = Broker1.Event(
        event: .pressure, pool: "pool0", available: .kibibytes(1024 - 896 - 4))
      #expect(try next(monitor) == added)
      for lease in try client.call(Broker1.ListLeases.self, .init()).leases {
        try client.release(lease)
      }
      _ = try client.waitUntilClean()
      try client.acquire(.mebibytes(1))
      let full = Broker1.Event(event: .pressure, pool: "pool0", available: .zero)
      #expect(try next(monitor) == full)
    }

    @Test func `a device that stops answering revokes pool and leases, with the cause`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let (kept, given) = try (client.acquire(4096).lease, client.acquire(4096).lease)
      let monitor = try monitor(broker.client())
      #expect(ftruncate(broker.provider.memory(of: "0000:01:00.0"), 0) == 0)
      try client.release(given)
      let region = try next(monitor)
      #expect(region.event == .regionRevoked && region.pool == "pool0" && region.cause != nil)
      let lease = try next(monitor)
      #expect(lease.event == .leaseRevoked && lease.lease == kept.lease)
      #expect(lease.generation == kept.generation && lease.uid == kept.uid)
      #expect(lease.cause == region.cause && lease.pid == kept.pid)
    }

    @Test func `every holder of many leases is told once that they are revoked`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let kept = try (0..<200).map { _ in try client.acquire(4096).lease.lease }
      let monitor = try monitor(broker.client())
      #expect(ftruncate(broker.provider.memory(of: "0000:01:00.0"), 0) == 0)
      try client.release(client.acquire(4096).lease)
      #expect(try next(monitor).event == .regionRevoked)
      let told = try (0..<200).map { _ in try next(monitor) }
      #expect(told.allSatisfy { $0.event == .leaseRevoked })
      #expect(Set(told.compactMap(\.lease)) == Set(kept))
    }

    @Test func `a monitor that never reads is dropped, and costs no more than its bound`() throws {
      let broker = try TestBroker(attached: [])
      let deaf = try monitor(broker.client())
      let client = try broker.admin()
      let name = String(repeating: "n", count: 64)
      // Each round is two events of some hundred bytes; a socket takes some hundred kilobytes.
      func round() throws {
        _ = try client.call(
          Broker1.Attach.self, .init(device: "0000:01:00.0", bar: 0, name: name))
        _ = try client.call(Broker1.Detach.self, .init(pool: name))
      }
      for _ in 0..<6000 { try round() }
      var count = 0
      #expect(throws: TestClient.Closed.self) {
        while true {
          _ = try deaf.receive()
          count += 1
        }
      }
      #expect(count > 100 && count < 12_000)
    }

    @Test func `a monitor's end is noticed, and its calls are not taken`() throws {
      let broker = try TestBroker(configure: { $0.connectionLimit = 2 })
      do {
        let gone = try monitor(broker.client())
        try gone.send(Call(Broker1.Hello.self, .init()).frame())
      }
      let one = try monitor(broker.client())
      let client = try broker.admin()
      _ = try client.call(Broker1.Detach.self, .init(pool: "pool0"))
      #expect(try next(one).event == .regionRemoved)
    }

    @Test func `a monitor that leaves is forgotten`() throws {
      let quotas = Quotas(overrides: [UID(rawValue: getuid()): .init(connections: 3)])
      let broker = try TestBroker(configure: { $0.quotas = quotas })
      for _ in 0..<10 {
        // Gone in silence, with an event unread, and with calls that it does not take.
        let monitors = try (0..<3).map { _ in
          try wait(for: "room") { try? monitor(broker.client()) }
        }
        try monitors[2].send(Call(Broker1.Hello.self, .init()).frame())
      }
      try wait(for: "the broker's ends to be closed") {
        unsafe ct_count_sockets(broker.path) == 1
      }
      let one = try monitor(broker.client())
      _ = try broker.admin().call(Broker1.Detach.self, .init(pool: "pool0"))
      #expect(try next(one).event == .regionRemoved)
    }

    @Test func `a lease taken by force is told, and leased again only after its holder`() throws {
      let broker = try TestBroker()
      let admin = try broker.admin()
      let monitor = try monitor(broker.client())
      let process = try TestProcess(broker)
      let held = try process.connection().acquire(.mebibytes(1))
      #expect(try next(monitor).event == .pressure)
      let lease = held.lease.lease
      let revoked = try admin.call(Broker1.ForceRelease.self, .init(lease: lease)).lease
      #expect(revoked.state == .revoked && revoked.lease == lease)
      let event = try next(monitor)
      #expect(event.event == .leaseRevoked && event.lease == lease)
      // Once more is no other event.
      _ = try admin.call(Broker1.ForceRelease.self, .init(lease: lease))
      try held.map().write([UInt8](repeating: 7, count: 4096), at: .zero)
      #expect(throws: ReplyError.self) { try admin.acquire(4096) }
      #expect(try admin.call(Broker1.ListLeases.self, .init()).leases.map(\.state) == [.revoked])
      process.kill()
      let again = try admin.acquire(
        .init(bytes: .mebibytes(1), wait: Milliseconds(rawValue: 10_000)))
      let bytes = try again.map().read(at: .zero, count: .mebibytes(1))
      #expect(bytes.allSatisfy { $0 == 0 })
      #expect(throws: ReplyError.broker(.noSuchLease(lease: lease))) {
        try admin.call(Broker1.ForceRelease.self, .init(lease: lease))
      }
    }

    @Test func `a client that finds its lease revoked does not reach the device any more`() throws {
      let broker = try TestBroker(
        [.init(address: "0000:01:00.0", size: .mebibytes(4))])
      let connection = try Connection(to: BrokerSocket(path: broker.path))
      let lease = try connection.acquire(.mebibytes(3))
      try lease.region.write([1, 2, 3], at: .zero)
      #expect(try !lease.checkRevoked())
      _ = try broker.admin().call(Broker1.ForceRelease.self, .init(lease: lease.grant.lease))
      for _ in 0..<2 {
        #expect(try lease.checkRevoked())
        let bytes = try lease.region.read(at: 4096, count: .mebibytes(3) - 4096)
        #expect(bytes.allSatisfy { $0 == 0xff })
      }
      try lease.region.write([9, 9, 9], at: .zero)
      var found = [UInt8](repeating: 0, count: 3)
      #expect(unsafe pread(broker.provider.memory(of: "0000:01:00.0"), &found, 3, 0) == 3)
      #expect(found == [1, 2, 3])
      try lease.release()
    }

    @Test func `who releases what was taken by force ends it`() throws {
      let broker = try TestBroker()
      let (admin, holder) = try (broker.admin(), broker.client())
      let lease = try holder.acquire(.mebibytes(1)).lease
      _ = try admin.call(Broker1.ForceRelease.self, .init(lease: lease.lease))
      try holder.release(lease)
      try admin.acquire(.mebibytes(1))
    }
  }
}
