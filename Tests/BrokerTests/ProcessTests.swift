import Broker
import BrokerProtocol
import CTestProcess
import DeviceMemory
import Foundation
import GenPool
import Testing

extension BrokerTests {
  /// What the death, the silence and the user of a process mean.
  struct ProcessTests {
    @Test func `the memory of a killed process comes back, scrubbed`() throws {
      let broker = try TestBroker()
      let watcher = try broker.client()
      let process = try TestProcess(broker)
      let held = try process.connection().acquire(.mebibytes(1))
      #expect(held.lease.pid == process.pid)
      try held.map().write([UInt8](repeating: 0x5a, count: 1 << 20), at: .zero)
      #expect(try watcher.pool().available == .zero)
      process.kill()
      let pool = try wait(for: "the lease to be reclaimed") {
        let pool = try watcher.pool()
        return pool.available == .mebibytes(1) ? pool : nil
      }
      #expect(pool.leases == 0 && pool.holders == 0)
      let again = try watcher.acquire(.mebibytes(1))
      #expect(try again.map().read(at: .zero, count: .mebibytes(1)).allSatisfy { $0 == 0 })
    }

    @Test(.enabled(if: getuid() == 0, "only root can be another user"))
    func `an account has so many processes, connected or with memory, and no more`() throws {
      let broker = try TestBroker(
        [.init(address: "0000:01:00.0", size: .mebibytes(1), isolation: .cooperative)],
        configure: { $0.processLimit = 2 })
      let lessee = try TestProcess(broker, uid: 1001)
      _ = try lessee.connection().acquire(4096)
      lessee.hangUp()
      let connected = try TestProcess(broker, uid: 1001)
      _ = try connected.connection().pool()
      let third = try TestProcess(broker, uid: 1001)
      #expect(try third.connection().isClosed())
      // The broker says so after it has closed the connection.
      try wait(for: "the line of the log") {
        broker.log.lines("connection refused").contains { $0.contains("uid 1001 has 2 processes") }
      }
      // Neither other users nor root pay for it.
      let other = try TestProcess(broker, uid: 1002)
      _ = try other.connection().pool()
      _ = try broker.client().pool()
      // The end of one makes room.
      connected.kill()
      try wait(for: "room for a process") {
        let next = try TestProcess(broker, uid: 1001)
        return withExtendedLifetime(next) { (try? next.connection().pool()) != nil }
      }
      withExtendedLifetime((lessee, connected, third, other)) {}
    }

    @Test func `closing the connection alone frees nothing`() throws {
      let broker = try TestBroker()
      let watcher = try broker.client()
      let process = try TestProcess(broker)
      let lease = try process.connection().acquire(4096).lease
      process.hangUp()
      let orphan = try wait(for: "the lease to be orphaned") {
        try watcher.call(Broker1.ListLeases.self, .init()).leases.first { $0.state == .orphaned }
      }
      #expect(orphan.lease == lease.lease)
      usleep(200_000)
      #expect(try watcher.pool().leases == 1 && watcher.pool().holders == 1)
      process.kill()
      try wait(for: "the orphan's end") { try watcher.pool().leases == 0 }
    }

    @Test func `a dead process's memory comes back although its child keeps the connection`() throws
    {
      let broker = try TestBroker()
      let watcher = try broker.client()
      let process = try TestProcess(broker, forks: true)
      let connection = try process.connection()
      _ = try connection.acquire(4096)
      process.kill()
      try wait(for: "the lease to be reclaimed") { try watcher.pool().leases == 0 }
      // The child could talk, but to nobody.
      #expect(serverSockets(of: broker) == 2)
    }

    @Test func `a process that connects again may release what it leased before`() throws {
      let broker = try TestBroker()
      let watcher = try broker.client()
      let lease = try broker.client().acquire(4096).lease
      _ = try wait(for: "the lease to be orphaned") {
        try watcher.call(Broker1.ListLeases.self, .init()).leases.first { $0.state == .orphaned }
      }
      try watcher.release(lease)
      #expect(try watcher.waitUntilClean().available == .mebibytes(1))
    }

    @Test func `a process that held memory is a holder until it dies`() throws {
      let broker = try TestBroker()
      let watcher = try broker.admin()
      let process = try TestProcess(broker)
      let lease = try process.connection().acquire(4096).lease
      try process.connection().release(lease)
      #expect(try watcher.waitUntilClean().holders == 1)
      #expect(
        throws: ReplyError.broker(
          .poolBusy(
            pool: "pool0", reason: .holders, uid: UID(rawValue: getuid()), leases: 0, holders: 1))
      ) { try watcher.call(Broker1.Detach.self, .init(pool: "pool0")) }
      process.kill()
      try wait(for: "the holder's end") { try watcher.pool().holders == 0 }
      _ = try watcher.call(Broker1.Detach.self, .init(pool: "pool0"))
    }

    @Test func `a process is known once, however often it connects`() throws {
      let broker = try TestBroker()
      let before = try watchedProcesses(named: getpid())
      let first = try broker.client()
      _ = try first.acquire(4096)
      for _ in 0..<50 { _ = try broker.client().acquire(4096) }
      #expect(try first.pool().holders == 1)
      #expect(try watchedProcesses(named: getpid()) == before + 1)
    }

    @Test func `killed processes leave no descriptor behind`() throws {
      let broker = try TestBroker()
      let watcher = try broker.client()
      _ = try watcher.waitUntilClean()
      let name = "genpool-test-0000:01:00.0"
      let memoryBefore = try descriptors(to: name)
      var pids: [Int32] = []
      for round in 0..<20 {
        let process = try TestProcess(broker)
        _ = try process.connection().acquire(.kibibytes(64))
        pids.append(process.pid.rawValue)
        if round.isMultiple(of: 2) { process.hangUp() }
      }
      try wait(for: "all leases to end") { try watcher.pool().leases == 0 }
      try wait(for: "all pidfds to be closed") {
        try pids.allSatisfy { try watchedProcesses(named: $0) == 0 }
      }
      #expect(serverSockets(of: broker) == 2)
      #expect(try descriptors(to: name) == memoryBefore)
    }

    @Test(.enabled(if: getuid() == 0, "only root can be another user"))
    func `one user at a time may lease memory that its descriptor cannot fence`() throws {
      let broker = try TestBroker()
      let alice = try TestProcess(broker, uid: 1001)
      let bob = try TestProcess(broker, uid: 1002)
      let lease = try alice.connection().acquire(4096).lease
      let watcher = try broker.client()
      #expect(try watcher.pool().exclusiveUid == UID(rawValue: 1001))
      #expect(try alice.connection().acquire(4096).lease.uid == UID(rawValue: 1001))
      func busy(_ leases: Int) -> ReplyError {
        .broker(
          .poolBusy(
            pool: "pool0", reason: .uidExclusive, uid: UID(rawValue: 1001), leases: leases,
            holders: 1))
      }
      #expect(throws: busy(2)) { try bob.connection().acquire(4096) }
      // Root is another user, too.
      #expect(throws: busy(2)) { try watcher.acquire(4096, pool: "pool0") }
      // The lease's end takes no descriptor back.
      try alice.connection().release(lease)
      alice.hangUp()
      usleep(50_000)
      #expect(throws: busy(1)) { try bob.connection().acquire(4096) }
      alice.kill()
      try wait(for: "the other user's turn") { try watcher.pool().exclusiveUid == nil }
      #expect(try bob.connection().acquire(4096).lease.uid == UID(rawValue: 1002))
    }

    @Test(.enabled(if: getuid() == 0, "only root can be another user"))
    func `the next user finds nothing of the last, not even outside of its leases`() throws {
      let broker = try TestBroker()
      let watcher = try broker.client()
      _ = try watcher.waitUntilClean()
      let alice = try TestProcess(broker, uid: 1001)
      _ = try alice.connection().acquire(4096)
      // The descriptor reaches all of the BAR, and alice writes where she has no lease.
      let secret = [UInt8](repeating: 0x41, count: 1 << 20)
      let memory = broker.provider.memory(of: "0000:01:00.0")
      #expect(unsafe pwrite(memory, secret, secret.count, 0) == secret.count)
      alice.kill()
      try wait(for: "alice's end") { try watcher.pool().holders == 0 }
      let bob = try TestProcess(broker, uid: 1002)
      let held = try bob.connection().acquire(.mebibytes(1))
      #expect(try held.map().read(at: .zero, count: .mebibytes(1)).allSatisfy { $0 == 0 })
    }

    /// The broker's sockets: the listening one and one a connection.
    private func serverSockets(of broker: TestBroker) -> Int {
      Int(unsafe ct_count_sockets(broker.path))
    }

    /// How many pidfds of a process are open here.
    private func watchedProcesses(named pid: Int32) throws -> Int {
      let directory = "/proc/self/fdinfo"
      return try FileManager.default.contentsOfDirectory(atPath: directory).count { name in
        let text = try? String(contentsOfFile: "\(directory)/\(name)", encoding: .utf8)
        return text?.contains("\nPid:\t\(pid)\n") ?? false
      }
    }

    /// How many descriptors of a memfd are open here.
    private func descriptors(to name: String) throws -> Int {
      let directory = "/proc/self/fd"
      return try FileManager.default.contentsOfDirectory(atPath: directory).count { number in
        let target = try? FileManager.default.destinationOfSymbolicLink(
          atPath: "\(directory)/\(number)")
        return target?.contains(name) ?? false
      }
    }
  }
}
