import Broker
import BrokerProtocol
import DeviceMemory
import Foundation
import GenPool
import LinuxSystem
import SystemPackage
import Testing

extension BrokerTests {
  /// Attach, Detach, and devices that fail.
  struct AttachTests {
    private static let refusal = Broker1.Refusal(
      rule: "driver-free", subject: "nvme", cause: "a driver is bound", cure: "unbind it")
    private static let devices: [MemoryProvider.TestDevice] = [
      .init(address: "0000:01:00.0", size: .mebibytes(1)),
      .init(address: "0000:02:00.0", size: .mebibytes(2)),
      .init(
        address: "0000:03:00.0", size: .mebibytes(1),
        failure: .deviceRefused(device: "0000:03:00.0", rules: [refusal])),
      .init(
        address: "0000:04:00.0", size: .mebibytes(1),
        failure: .system(
          SystemError(
            operation: "map", subject: "BAR 0 of 0000:04:00.0", errno: .notPermitted,
            cause: "kernel lockdown"))),
      .init(address: "0000:05:00.0", size: .mebibytes(1), mapOffset: 256),
    ]

    private func broker() throws -> TestBroker { try TestBroker(Self.devices, attached: []) }

    @Test func `attaching makes a pool, and detaching gives the BAR back`() throws {
      let broker = try broker()
      let client = try broker.admin()
      let pool = try client.call(
        Broker1.Attach.self,
        .init(
          device: "0000:02:00.0", bar: 0, offset: .mebibytes(1), size: .kibibytes(512),
          granule: .kibibytes(64), name: "half")
      ).pool
      #expect(pool.name == "half" && pool.offset == .mebibytes(1) && pool.size == .kibibytes(512))
      #expect(pool.physical == PhysicalAddress(0x80_0010_0000) && pool.granule == .kibibytes(64))
      #expect(broker.provider.openCount.value == 1)
      #expect(try client.call(Broker1.ListPools.self, .init()).pools.map(\.name) == ["half"])
      _ = try client.call(Broker1.Detach.self, .init(pool: "half"))
      // When the answer comes it has been given back, so the next one can have it.
      #expect(broker.provider.openCount.value == 0)
      #expect(throws: ReplyError.broker(.noSuchPool(pool: "half"))) {
        try client.call(Broker1.Detach.self, .init(pool: "half"))
      }
      let whole = try client.call(Broker1.Attach.self, .init(device: "0000:02:00.0", bar: 0)).pool
      #expect(whole.name == "0000:02:00.0/0" && whole.size == .mebibytes(2))
    }

    @Test func `detaching waits for leases and holders to end`() throws {
      let broker = try TestBroker()
      let client = try broker.admin()
      let held = try client.acquire(4096)
      let lease = held.lease
      func busy(_ reason: Broker1.BusyReason, _ leases: Int) -> ReplyError {
        .broker(
          .poolBusy(
            pool: "pool0", reason: reason, uid: UID(rawValue: getuid()), leases: leases,
            holders: 1))
      }
      #expect(throws: busy(.leases, 1)) {
        try client.call(Broker1.Detach.self, .init(pool: "pool0"))
      }
      try client.release(lease)
      #expect(throws: busy(.holders, 0)) {
        try client.call(Broker1.Detach.self, .init(pool: "pool0"))
      }
      withExtendedLifetime(held) {}
    }

    @Test func `a name or a BAR that is taken is refused, and nothing stays open`() throws {
      let broker = try broker()
      let client = try broker.admin()
      _ = try client.call(Broker1.Attach.self, .init(device: "0000:01:00.0", bar: 0, name: "a"))
      #expect(throws: ReplyError.broker(.poolExists(pool: "a"))) {
        try client.call(Broker1.Attach.self, .init(device: "0000:02:00.0", bar: 0, name: "a"))
      }
      // Two pools of one BAR would let two users reach all of it.
      let error = #expect(throws: ReplyError.self) {
        try client.call(
          Broker1.Attach.self, .init(device: "0000:01:00.0", bar: 0, offset: 4096, name: "b"))
      }
      #expect(error?.description.contains("pool a has a part of this BAR") == true)
      #expect(broker.provider.openCount.value == 1)
    }

    @Test(arguments: [MemorySource.sysfs, .vfio])
    func `another BAR of the device may be a pool unless VFIO's descriptors reach it`(
      source: MemorySource
    ) throws {
      let device = "0000:01:00.0"
      let broker = try TestBroker(
        [.init(address: device, size: .mebibytes(1), source: source, bars: [0, 2])],
        attached: [.init(device: device, bar: 0, name: "a")])
      let client = try broker.admin()
      func attachOther() throws {
        _ = try client.call(Broker1.Attach.self, .init(device: device, bar: 2, name: "b"))
      }
      if source == .sysfs { return try attachOther() }
      let error = #expect(throws: ReplyError.self) { try attachOther() }
      #expect(error?.description.contains("pool a has a part of this device") == true)
    }

    @Test func `what the policy and the system refuse is passed on whole`() throws {
      let broker = try broker()
      let client = try broker.admin()
      #expect(
        throws: ReplyError.broker(
          .deviceRefused(device: "0000:03:00.0", rules: [Self.refusal]))
      ) { try client.call(Broker1.Attach.self, .init(device: "0000:03:00.0", bar: 0)) }
      _ = try client.call(
        Broker1.Attach.self, .init(device: "0000:03:00.0", bar: 0, allow: ["driver-free"]))
      #expect(
        throws: ReplyError.broker(
          .deviceError(
            operation: "map", subject: "BAR 0 of 0000:04:00.0", errno: EPERM,
            cause: "kernel lockdown"))
      ) { try client.call(Broker1.Attach.self, .init(device: "0000:04:00.0", bar: 0)) }
      #expect(throws: ReplyError.broker(.noSuchDevice(device: "0000:09:00.0", bar: nil))) {
        try client.call(Broker1.Attach.self, .init(device: "0000:09:00.0", bar: 0))
      }
      #expect(throws: ReplyError.broker(.noSuchDevice(device: "0000:01:00.0", bar: 3))) {
        try client.call(Broker1.Attach.self, .init(device: "0000:01:00.0", bar: 3))
      }
    }

    @Test(arguments: [
      ("\"granule\":3", "granule"), ("\"granule\":2048", "granule"), ("\"granule\":0", "granule"),
      ("\"granule\":2097152", "granule"), ("\"name\":\"\"", "name"), ("\"name\":\"a b\"", "name"),
      ("\"name\":\"a\\nb\"", "name"), ("\"offset\":1048576", "offset"), ("\"size\":0", "size"),
      ("\"size\":2097152", "size"), ("\"bar\":\"0\"", "bar"), ("\"allow\":\"x\"", "allow"),
      // Not on a page, as BARs below a page can be.
      ("\"device\":\"0000:05:00.0\"", "granule"),
    ])
    func `a request that makes no sense names the parameter`(_ json: String, _ name: String) throws
    {
      let broker = try broker()
      let client = try broker.admin()
      let device = json.contains("device") ? "" : "\"device\":\"0000:01:00.0\","
      let bar = json.contains("bar") ? "" : "\"bar\":0,"
      try client.send(
        "{\"method\":\"io.genpool.Broker1.Attach\",\"parameters\":{\(device)\(bar)\(json)}}")
      #expect(throws: ReplyError.broker(.invalidParameter(parameter: name))) {
        try client.receive().result(of: Broker1.Attach.self)
      }
      #expect(broker.provider.openCount.value == 0)
    }

    @Test func `who waits for a pool that is detached hears so`() throws {
      let size = ByteCount.mebibytes(64)
      let broker = try TestBroker(
        [.init(address: "0000:01:00.0", size: size)], attached: [],
        configure: { $0.scrubSlice = .kibibytes(64) })
      let (client, admin) = try (broker.admin(), broker.admin())
      try client.send(
        Call(Broker1.Attach.self, .init(device: "0000:01:00.0", bar: 0, name: "pool0")).frame()
          + Call(Broker1.Acquire.self, .init(pool: "pool0", bytes: size)).frame())
      _ = try client.receive()
      _ = try admin.call(Broker1.Detach.self, .init(pool: "pool0"))
      #expect(throws: ReplyError.broker(.noSuchPool(pool: "pool0"))) { try client.receiveLease() }
      #expect(broker.provider.openCount.value == 0)
    }

    @Test func `a device that stops answering loses its pool, and nobody else anything`() throws {
      let broker = try TestBroker(
        Self.devices,
        attached: [
          .init(device: "0000:01:00.0", bar: 0, name: "gone"),
          .init(device: "0000:02:00.0", bar: 0, name: "well"),
        ])
      let client = try broker.client()
      let kept = try client.acquire(4096, pool: "gone").lease
      let lease = try client.acquire(.kibibytes(64), pool: "gone").lease
      // As when a device vanishes: the next access is a SIGBUS.
      #expect(ftruncate(broker.provider.memory(of: "0000:01:00.0"), 0) == 0)
      try client.release(lease)
      let pool = try wait(for: "the pool to be revoked") {
        let pool = try client.pool("gone")
        return pool.state == .revoked ? pool : nil
      }
      #expect(pool.failure?.contains("no answer") == true && pool.available == .zero)
      let error = #expect(throws: ReplyError.self) { try client.acquire(4096, pool: "gone") }
      guard case .broker(.poolRevoked) = error else {
        Issue.record("got \(String(describing: error))")
        return
      }
      #expect(try client.acquire(4096).lease.pool == "well")
      let leases = try client.call(Broker1.ListLeases.self, .init(pool: "gone")).leases
      #expect(leases.map(\.state) == [.revoked] && leases.first?.lease == kept.lease)
      try client.release(kept)
      #expect(try client.call(Broker1.ListLeases.self, .init(pool: "gone")).leases.isEmpty)
    }

    /// One slice that takes long enough for a writer to get its turn before it is read back. On a busy
    /// machine it may not, so the tests below try again.
    private static func largeSlice() throws -> TestBroker {
      try TestBroker(
        [.init(address: "0000:01:00.0", size: .mebibytes(64))], attached: [],
        configure: { $0.scrubSlice = .mebibytes(64) })
    }
    private static let attach = Broker1.Attach.Parameters(
      device: "0000:01:00.0", bar: 0, name: "pool0")

    @Test func `memory that a holder keeps writing to is not leased before the holder dies`() throws
    {
      let broker = try Self.largeSlice()
      let watcher = try broker.admin()
      let size = try watcher.call(Broker1.Attach.self, Self.attach).pool.size
      let process = try TestProcess(broker)
      let connection = try process.connection()
      let scribbler = try connection.acquire(size).scribbler()
      try wait(for: "the writer to get its turn") {
        let held = try watcher.call(Broker1.ListLeases.self, .init()).leases.first
        try connection.release(#require(held))
        do {
          try connection.acquire(size)
          return false
        } catch ReplyError.broker(let error) {
          // Nobody waits for memory of which it is clear that it may take for ever.
          #expect(error == .poolFull(pool: "pool0", bytes: size, available: .zero))
          return true
        }
      }
      let pool = try watcher.pool()
      #expect(pool.state == .active && pool.dirty == size)
      let leases = try watcher.call(Broker1.ListLeases.self, .init()).leases
      #expect(leases.map(\.state) == [.quarantine])
      scribbler.stop()
      process.kill()
      try wait(for: "the pool to be clean") { try watcher.pool().available == size }
    }

    @Test func `memory that does not stay zero although nobody can write is revoked`() throws {
      let broker = try Self.largeSlice()
      let client = try broker.admin()
      let scribbler = Scribbler(on: broker.provider.memory(of: "0000:01:00.0"))
      try wait(for: "the writer to get its turn") {
        _ = try client.call(Broker1.Attach.self, Self.attach)
        try wait(for: "the end of scrubbing") {
          let pool = try client.pool()
          return pool.dirty == .zero || pool.state == .revoked
        }
        if try client.pool().state == .revoked { return true }
        _ = try client.call(Broker1.Detach.self, .init(pool: "pool0"))
        return false
      }
      #expect(try client.pool().failure?.contains("not zero") == true)
      scribbler.stop()
      _ = try client.call(Broker1.Detach.self, .init(pool: "pool0"))
    }

    @Test func `memory that reads as all-ones for a moment, as in a reset, is not lost`() throws {
      let broker = try Self.largeSlice()
      let client = try broker.admin()
      let scribbler = Scribbler(on: broker.provider.memory(of: "0000:01:00.0"), value: .max)
      try wait(for: "the writer to get its turn") {
        let size = try client.call(Broker1.Attach.self, Self.attach).pool.size
        try wait(for: "the end of scrubbing") {
          try !broker.log.lines("not zero").isEmpty || client.pool().available == size
        }
        if !broker.log.lines("not zero").isEmpty { return true }
        _ = try client.call(Broker1.Detach.self, .init(pool: "pool0"))
        return false
      }
      scribbler.stop()
      try wait(for: "the pool to be clean") {
        let pool = try client.pool()
        #expect(pool.state == .active, "\(pool.failure ?? "")")
        return pool.available == pool.size || pool.state == .revoked
      }
    }

    @Test func `a broker that ends gives its BARs back`() throws {
      let broker = try TestBroker(
        [.init(address: "0000:01:00.0", size: .mebibytes(256))],
        configure: { $0.scrubSlice = .kibibytes(64) })
      let count = broker.provider.openCount
      _ = try broker.client().call(Broker1.Hello.self, .init())
      broker.stop()
      #expect(count.value == 0)
      #expect(!FileManager.default.fileExists(atPath: broker.path))
    }
  }
}

extension TestClient.Held {
  /// Something that writes to the lease and does not stop when it ends.
  fileprivate func scribbler() -> Scribbler { Scribbler(on: descriptor.rawValue) }
}

/// Writes to the first byte of a memory as fast as it can: a device or a process that does not stop.
private final class Scribbler: Sendable {
  private let started = DispatchSemaphore(value: 0)
  private let stopped = DispatchSemaphore(value: 0)
  private let ended = DispatchSemaphore(value: 0)

  init(on memory: CInt, value: UInt64 = 1) {
    // Mapped, for a store is quicker than a system call, and the scrubber must not win.
    let page = unsafe mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0)
    let address = UInt(bitPattern: page)
    Thread.detachNewThread { [started, stopped, ended] in
      guard let page = unsafe UnsafeMutableRawPointer(bitPattern: address) else { return }
      unsafe page.storeBytes(of: value, as: UInt64.self)
      started.signal()
      while stopped.wait(timeout: .now()) == .timedOut {
        for _ in 0..<10_000 { unsafe page.storeBytes(of: value, as: UInt64.self) }
      }
      unsafe munmap(page, 4096)
      ended.signal()
    }
    started.wait()
  }

  /// Ends it, and returns when it has.
  func stop() {
    stopped.signal()
    ended.wait()
  }
}
