import Broker
import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import Testing

extension BrokerTests {
  /// Acquire that waits for others to end their leases.
  struct WaitTests {
    private static let long = Milliseconds(rawValue: 60_000)

    private func broker(
      isolation: Isolation = .cooperative, _ quotas: Quotas = Quotas()
    ) throws -> TestBroker {
      try TestBroker(
        [.init(address: "0000:01:00.0", size: .mebibytes(1), isolation: isolation)],
        configure: { $0.quotas = quotas })
    }

    private func ask(
      _ client: TestClient, _ bytes: ByteCount, wait: Milliseconds? = long
    ) throws {
      try client.send(Call(Broker1.Acquire.self, .init(bytes: bytes, wait: wait)).frame())
    }

    /// Whether nothing comes within a moment.
    private func isSilent(_ client: TestClient) -> Bool {
      var end = pollfd(fd: client.socket.rawValue, events: Int16(POLLIN), revents: 0)
      return unsafe poll(&end, 1, 100) == 0
    }

    private func queue(leases: Int, holders: Int = 1) -> ReplyError {
      .broker(
        .poolBusy(pool: "pool0", reason: .queue, uid: nil, leases: leases, holders: holders))
    }

    private let full = ReplyError.broker(
      .poolFull(pool: "pool0", bytes: 4096, available: .zero))

    @Test func `a release ends the wait`() throws {
      let broker = try broker()
      let (holder, waiter) = try (broker.client(), broker.client())
      let lease = try holder.acquire(.mebibytes(1)).lease
      try ask(waiter, 4096)
      #expect(isSilent(waiter))
      try holder.release(lease)
      #expect(try waiter.receiveLease().lease.size == 4096)
    }

    @Test func `a death ends the wait`() throws {
      let broker = try broker()
      let process = try TestProcess(broker)
      try process.connection().acquire(.mebibytes(1))
      let waiter = try broker.client()
      try ask(waiter, .mebibytes(1))
      #expect(isSilent(waiter))
      process.kill()
      #expect(try waiter.receiveLease().lease.size == .mebibytes(1))
    }

    @Test func `when the time is up the error is the one without waiting`() throws {
      let broker = try broker()
      let (holder, waiter) = try (broker.client(), broker.client())
      try holder.acquire(.mebibytes(1))
      #expect(throws: full) { try waiter.acquire(1) }
      #expect(throws: full) {
        try waiter.acquire(.init(bytes: 1, wait: Milliseconds(rawValue: 0)))
      }
      let start = ContinuousClock.now
      #expect(throws: full) {
        try waiter.acquire(.init(bytes: 1, wait: Milliseconds(rawValue: 200)))
      }
      let waited = ContinuousClock.now - start
      #expect(waited >= .milliseconds(200) && waited < .seconds(5))
      // The connection is as good as before.
      #expect(try waiter.pool().leases == 1)
    }

    @Test func `memory that is being zeroed is not waited for longer than asked`() throws {
      let size = ByteCount.mebibytes(256)
      let broker = try TestBroker(
        [.init(address: "0000:01:00.0", size: size)], attached: [],
        configure: { $0.scrubSlice = 4096 })
      let client = try broker.admin()
      try client.send(
        Call(Broker1.Attach.self, .init(device: "0000:01:00.0", bar: 0)).frame()
          + Call(Broker1.Acquire.self, .init(bytes: size, wait: Milliseconds(rawValue: 0))).frame())
      _ = try client.receive().result(of: Broker1.Attach.self)
      let error = #expect(throws: ReplyError.self) { try client.receiveLease() }
      guard case .broker(.poolFull) = error else {
        Issue.record("got \(String(describing: error))")
        return
      }
    }

    @Test func `what can never be is not waited for`() throws {
      let broker = try broker(
        isolation: .cooperative,
        Quotas(overrides: [UID(rawValue: getuid()): .init(bytes: .kibibytes(512))]))
      let client = try broker.client()
      for (bytes, pool) in [(ByteCount.mebibytes(2), "pool0"), (4096, "nowhere")] {
        #expect(throws: ReplyError.self) {
          try client.acquire(.init(pool: pool, bytes: bytes, wait: Self.long))
        }
      }
      #expect(
        throws: ReplyError.broker(.quotaExceeded(what: .bytes, limit: 512 << 10, used: 0))
      ) { try client.acquire(.init(bytes: .kibibytes(600), wait: Self.long)) }
      #expect(throws: ReplyError.broker(.invalidParameter(parameter: "wait"))) {
        try client.acquire(.init(bytes: 1, wait: Milliseconds(rawValue: -1)))
      }
      let longest = Milliseconds(rawValue: .max)
      #expect(try client.acquire(.init(bytes: 1, wait: longest)).lease.size == 4096)
    }

    @Test func `nobody jumps the queue, with or without waiting`() throws {
      let broker = try broker()
      let holder = try broker.client()
      let lease = try holder.acquire(.kibibytes(512)).lease
      _ = try holder.waitUntilClean()
      let (first, second) = try (broker.client(), broker.client())
      try ask(first, .mebibytes(1))
      #expect(isSilent(first))
      // Half of the pool is free, but the first one is before.
      try ask(second, 4096)
      #expect(isSilent(second))
      let third = try broker.client()
      #expect(throws: queue(leases: 1)) { try third.acquire(4096) }
      try holder.release(lease)
      let all = try first.receiveLease().lease
      #expect(all.size == .mebibytes(1))
      #expect(isSilent(second))
      try first.release(all)
      #expect(try second.receiveLease().lease.size == 4096)
    }

    @Test func `many who wait are served in their order`() throws {
      let broker = try broker()
      let holder = try broker.client()
      let lease = try holder.acquire(.mebibytes(1)).lease
      let waiters = try (0..<8).map { _ in try broker.client() }
      for waiter in waiters {
        try ask(waiter, .mebibytes(1))
        #expect(isSilent(waiter))
      }
      try holder.release(lease)
      for (index, waiter) in waiters.enumerated() {
        let lease = try waiter.receiveLease().lease
        #expect(lease.generation.rawValue == Int64(index) + 2)
        try waiter.release(lease)
      }
    }

    @Test func `hanging up leaves the queue`() throws {
      let broker = try broker()
      let holder = try broker.client()
      try holder.acquire(.kibibytes(512))
      _ = try holder.waitUntilClean()
      let behind = try broker.client()
      do {
        let gone = try broker.client()
        try ask(gone, .mebibytes(1))
        #expect(isSilent(gone))
        try ask(behind, 4096)
        #expect(isSilent(behind))
      }
      #expect(try behind.receiveLease().lease.size == 4096)
      #expect(try holder.pool().leases == 2)
    }

    @Test func `whose time is up leaves the queue`() throws {
      let broker = try broker()
      let holder = try broker.client()
      try holder.acquire(.kibibytes(512))
      _ = try holder.waitUntilClean()
      let (ahead, behind) = try (broker.client(), broker.client())
      try ask(ahead, .mebibytes(1), wait: Milliseconds(rawValue: 300))
      #expect(isSilent(ahead))
      try ask(behind, 4096)
      #expect(throws: ReplyError.self) { try ahead.receiveLease() }
      #expect(try behind.receiveLease().lease.size == 4096)
    }

    @Test func `a pool that goes while it is waited for says so`() throws {
      let broker = try broker()
      let process = try TestProcess(broker)
      try process.connection().acquire(.mebibytes(1))
      let waiter = try broker.client()
      try waiter.send(
        Call(Broker1.Acquire.self, .init(pool: "pool0", bytes: .mebibytes(1), wait: Self.long))
          .frame())
      #expect(isSilent(waiter))
      // The device's memory is gone: the scrub of what the process leaves faults.
      #expect(ftruncate(broker.provider.memory(of: "0000:01:00.0"), 0) == 0)
      process.kill()
      let error = #expect(throws: ReplyError.self) { try waiter.receiveLease() }
      guard case .broker(.poolRevoked) = error else {
        Issue.record("got \(String(describing: error))")
        return
      }
    }

    @Test func `waiting for one's quota stops nobody else`() throws {
      let me = UID(rawValue: getuid())
      let broker = try broker(
        isolation: .cooperative, Quotas(overrides: [me: .init(bytes: .kibibytes(512))]))
      let client = try broker.client()
      let lease = try client.acquire(.kibibytes(512)).lease
      let (waiter, behind) = try (broker.client(), broker.client())
      try ask(waiter, .kibibytes(512))
      #expect(isSilent(waiter))
      if getuid() == 0 {
        let other = try TestProcess(broker, uid: 1001)
        #expect(try other.connection().acquire(4096).lease.uid == UID(rawValue: 1001))
      }
      try client.release(lease)
      #expect(try waiter.receiveLease().lease.size == .kibibytes(512))
      #expect(throws: ReplyError.self) { try behind.acquire(1) }
    }

    @Test(.enabled(if: getuid() == 0, "only root can be another user"))
    func `another user's turn can be waited for`() throws {
      let broker = try broker(isolation: .uidExclusive)
      let alice = try TestProcess(broker, uid: 1001)
      try alice.connection().acquire(4096)
      let bob = try TestProcess(broker, uid: 1002)
      let waiting = try bob.connection()
      try ask(waiting, 4096)
      #expect(isSilent(waiting))
      // She may not go on and on while he waits.
      #expect(throws: queue(leases: 1)) { try alice.connection().acquire(4096) }
      alice.kill()
      let held = try waiting.receiveLease()
      #expect(held.lease.uid == UID(rawValue: 1002))
    }
  }
}
