import Broker
import BrokerProtocol
import DeviceMemory
import GenPool
import Testing

extension BrokerTests {
  /// Devices that the kernel wants back, as VFIO's are before they are removed.
  struct RemovalTests {
    private static let device = "0000:01:00.0"

    private func broker(_ source: MemorySource?) throws -> TestBroker {
      try TestBroker([.init(address: Self.device, size: .mebibytes(1), source: source)])
    }

    @Test(arguments: [
      (MemorySource.sysfs, "sysfs", "unnoticed"), (.vfio, "vfio", "waits"), (nil, nil, nil),
    ])
    func `a pool says how it was opened, and what removal does`(
      source: MemorySource?, name: String?, removal: String?
    ) throws {
      let broker = try broker(source)
      let pool = try broker.client().pool()
      #expect(pool.source == name && pool.removal == removal)
    }

    @Test func `a device that is wanted back is let go of at once, whoever leases of it`() throws {
      let broker = try broker(.vfio)
      let client = try broker.client()
      let watcher = try broker.admin()
      let held = try client.acquire(.kibibytes(64))
      broker.tell(.requested(Self.device))
      try wait(for: "the broker to let go") { broker.provider.openCount.value == 0 }
      let pool = try watcher.pool()
      #expect(pool.state == .revoked && pool.failure?.contains("is being removed") == true)
      let lease = try #require(watcher.call(Broker1.ListLeases.self, .init()).leases.first)
      #expect(lease.lease == held.lease.lease && lease.state == .revoked)
      #expect(throws: ReplyError.self) { try client.acquire(4096) }
      #expect(throws: ReplyError.self) { try watcher.acquire(4096) }
      try client.release(held.lease)
      #expect(try watcher.call(Broker1.ListLeases.self, .init()).leases.isEmpty)
    }

    @Test func `once it is removed nobody holds it, although the holders live`() throws {
      let broker = try broker(.vfio)
      let client = try broker.client()
      let held = try client.acquire(.kibibytes(64))
      broker.tell(.requested(Self.device))
      broker.tell(.removed(Self.device))
      try wait(for: "the pool's end") {
        try client.call(Broker1.ListPools.self, .init()).pools.isEmpty
      }
      #expect(try client.call(Broker1.ListLeases.self, .init()).leases.isEmpty)
      #expect(throws: ReplyError.self) { try client.release(held.lease) }
    }

    @Test func `one that comes back is attached anew while an old holder lives`() throws {
      let broker = try broker(.vfio)
      let client = try broker.admin()
      let held = try client.acquire(.kibibytes(64))
      broker.tell(.requested(Self.device))
      try wait(for: "the broker to let go") { broker.provider.openCount.value == 0 }
      // The kernel would not have let it be opened before all had let go.
      _ = try client.call(Broker1.Attach.self, .init(device: Self.device, bar: 0, name: "new"))
      #expect(try client.waitUntilClean("new").available == .mebibytes(1))
      withExtendedLifetime(held) {}
    }

    @Test func `memory through sysfs is not wanted back`() throws {
      let broker = try broker(.sysfs)
      let client = try broker.client()
      broker.tell(.requested(Self.device))
      broker.tell(.requested("0000:02:00.0"))
      #expect(try client.waitUntilClean().state == .active)
      try client.acquire(4096)
    }

    @Test func `through sysfs a holder keeps a removed pool in the list`() throws {
      let broker = try broker(.sysfs)
      let client = try broker.client()
      let held = try client.acquire(4096)
      broker.tell(.removed(Self.device))
      try wait(for: "its revocation") { try client.pool().state == .revoked }
      #expect(broker.provider.openCount.value == 1)
      withExtendedLifetime(held) {}
    }

    @Test func `a source that nobody knows is no parameter`() throws {
      let broker = try TestBroker(attached: [])
      let client = try broker.admin()
      #expect(throws: ReplyError.broker(.invalidParameter(parameter: "source"))) {
        try client.call(
          Broker1.Attach.self, .init(device: Self.device, bar: 0, source: "iommufd"))
      }
    }
  }
}
