import Broker
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import Synchronization
import Testing

extension BrokerTests {
  /// Devices that come and go.
  struct HotPlugTests {
    private static let (first, second) = ("0000:01:00.0", "0000:02:00.0")

    /// A source of news, and the devices that it has made the broker look at.
    private final class News: Sendable {
      private let event: EventCounter
      private let news = Mutex<[DeviceNews]>([])
      private let ready = Mutex<[String]>([])

      init() throws {
        event = try EventCounter()
      }

      func tell(_ item: DeviceNews) {
        news.withLock { $0.append(item) }
        event.raise()
      }

      /// Attaches what comes as a pool of the device's name.
      func connect(to broker: LeaseBroker) throws {
        try broker.watchDevices(event.rawValue) {
          self.event.clear()
          return self.news.withLock { news in
            defer { news = [] }
            return news
          }
        }
        broker.onDeviceReady = { broker, device in
          self.ready.withLock { $0.append(device) }
          _ = try? broker.attach(.init(device: device, bar: 0, name: device))
        }
      }

      var readyDevices: [String] { ready.withLock { $0 } }
    }

    /// Two devices, the second one `distance` behind the first in the physical address space.
    private func broker(distance: UInt64, _ news: News) throws -> TestBroker {
      let start: UInt64 = 0x80_0000_0000
      return try TestBroker(
        [
          .init(address: Self.first, size: .mebibytes(1), physical: PhysicalAddress(start)),
          .init(
            address: Self.second, size: .mebibytes(1),
            physical: PhysicalAddress(start + distance)),
        ], attached: [.init(device: Self.first, bar: 0, name: Self.first)],
        prepare: { try news.connect(to: $0) })
    }

    @Test func `when news were lost, what is there is looked up`() throws {
      let news = try News()
      let broker = try broker(distance: 1 << 30, news)
      let client = try broker.client()
      let held = try client.acquire(4096)
      let lease = held.lease
      // One was plugged in, one pulled out; nobody said so.
      broker.provider.absent.withLock { $0 = [Self.first] }
      news.tell(.lost)
      try wait(for: "the new device's pool") {
        try client.call(Broker1.ListPools.self, .init()).pools.contains { $0.name == Self.second }
      }
      #expect(try client.pool(Self.first).state == .revoked)
      let states = try client.call(Broker1.ListLeases.self, .init()).leases.map(\.state)
      #expect(states == [.revoked])
      try client.release(lease)
      // Nothing has changed since: nothing happens, and to nobody.
      news.tell(.lost)
      _ = try client.acquire(4096)
      #expect(try client.call(Broker1.ListPools.self, .init()).pools.count == 2)
      #expect(news.readyDevices == [Self.second])
      withExtendedLifetime(held) {}
    }

    @Test(arguments: [0, 0x1000, 0xf_f000] as [UInt64])
    func `addresses that a holder of a removed device still maps are no new device's`(
      distance: UInt64
    ) throws {
      let news = try News()
      let broker = try broker(distance: distance, news)
      let client = try broker.admin()
      let holder = try TestProcess(broker)
      // The process keeps the descriptor; this one does not.
      let lease = try holder.connection().acquire(4096).lease
      broker.provider.absent.withLock { $0 = [Self.first] }
      news.tell(.removed(Self.first))
      try wait(for: "the end of its pool") { try client.pool(Self.first).state == .revoked }
      // Released or not: the mapping may still be there.
      try holder.connection().release(lease)
      news.tell(.added(Self.second))
      try wait(for: "a look at the new device") { news.readyDevices.contains(Self.second) }
      let attach = Broker1.Attach.Parameters(device: Self.second, bar: 0, name: "new")
      let error = #expect(throws: ReplyError.self) {
        try client.call(Broker1.Attach.self, attach)
      }
      guard case .broker(.deviceError(_, _, EBUSY, let cause?)) = error else {
        Issue.record("refused with \(String(describing: error))")
        return
      }
      #expect(cause.contains("processes still hold pool \(Self.first)"))
      holder.kill()
      try wait(for: "the old pool to be forgotten") {
        try !client.call(Broker1.ListPools.self, .init()).pools.contains { $0.name == Self.first }
      }
      _ = try client.call(Broker1.Attach.self, attach)
      _ = try client.acquire(4096, pool: "new")
    }

    @Test func `addresses beside those of a removed device can be used`() throws {
      let news = try News()
      let broker = try broker(distance: 1 << 20, news)
      let client = try broker.client()
      try client.acquire(4096)
      news.tell(.removed(Self.first))
      news.tell(.added(Self.second))
      try wait(for: "its pool") {
        try client.call(Broker1.ListPools.self, .init()).pools.contains { $0.name == Self.second }
      }
    }
  }
}
