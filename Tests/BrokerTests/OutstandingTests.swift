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
  /// Memory that processes may reach without the kernel telling: unknown is not free.
  @Suite(.enabled(if: getuid() == 0, "only root can be another user"))
  struct OutstandingTests {
    private static let address = "0000:01:00.0"
    private static let attach = Broker1.Attach.Parameters(
      device: address, bar: 0, name: "pool0")

    private static func device(_ witness: Witness) -> MemoryProvider.TestDevice {
      .init(
        address: address, size: .mebibytes(1), source: witness == .reopening ? .vfio : .sysfs,
        witness: witness)
    }

    /// What another user than 1001 is told.
    private static func unseen(leases: Int = 0) -> ReplyError {
      .broker(
        .poolBusy(
          pool: "pool0", reason: .unseen, uid: UID(rawValue: 1001), leases: leases, holders: 0))
    }

    /// Leases as user 1001, and ends with that process.
    private func leaseAndDie(_ broker: TestBroker) throws {
      let alice = try TestProcess(broker, uid: 1001)
      _ = try alice.connection().acquire(4096)
      alice.kill()
      let watcher = try broker.client()
      try wait(for: "alice's end") { try watcher.pool().holders == 0 }
    }

    @Test(arguments: [Witness.reopening, .none])
    func `memory that the kernel cannot account for stays with its user`(witness: Witness) throws {
      let broker = try TestBroker([Self.device(witness)])
      let watcher = try broker.admin()
      // Another pool has the device's group open whenever this one is opened anew.
      broker.provider.witnessesAtOpening.withLock { $0[Self.address] = .unknown }
      #expect(try watcher.pool().reach == "free")
      #expect(try watcher.pool().witness == witness.rawValue)
      try leaseAndDie(broker)
      let pool = try watcher.pool()
      #expect(pool.reach == "unknown" && pool.exclusiveUid == UID(rawValue: 1001))
      let bob = try TestProcess(broker, uid: 1002)
      #expect(throws: Self.unseen()) { try bob.connection().acquire(4096) }
      #expect(throws: Self.unseen()) { try watcher.acquire(4096, pool: "pool0") }
      // Its user goes on, and leaves it as it was.
      try leaseAndDie(broker)
      #expect(throws: Self.unseen()) { try bob.connection().acquire(4096) }
      // An admin takes it out of that state, and is told what cannot be seen.
      let reply = try watcher.call(Broker1.Detach.self, .init(pool: "pool0"))
      #expect(reply.unseenUid == UID(rawValue: 1001) && reply.witness == witness.rawValue)
      broker.provider.witnessesAtOpening.withLock { $0 = [:] }
      _ = try watcher.call(Broker1.Attach.self, Self.attach)
      #expect(try bob.connection().acquire(4096).lease.uid == UID(rawValue: 1002))
    }

    @Test func `what VFIO lent is asked about when another user wants it`() throws {
      let broker = try TestBroker([Self.device(.reopening)])
      let watcher = try broker.client()
      try leaseAndDie(broker)
      #expect(try watcher.pool().reach == "unknown")
      let bob = try TestProcess(broker, uid: 1002)
      #expect(try bob.connection().acquire(4096).lease.uid == UID(rawValue: 1002))
      #expect(broker.provider.openCount.value == 1, "the memory of before was given back")
      #expect(try watcher.pool().exclusiveUid == UID(rawValue: 1002))
    }

    @Test func `a drain goes on when another pool lets go of the device's group`() throws {
      let other = "0000:02:00.0"
      var second = Self.device(.reopening)
      second.address = other
      let broker = try TestBroker(
        [Self.device(.reopening), second],
        attached: [Self.attach, .init(device: other, bar: 0, name: "pool1")])
      let admin = try broker.admin()
      broker.provider.witnessesAtOpening.withLock { $0[Self.address] = .unknown }
      let alice = try TestProcess(broker, uid: 1001)
      _ = try alice.connection().acquire(4096, pool: "pool0")
      alice.kill()
      try wait(for: "alice's end") { try admin.pool().holders == 0 }
      let pool = try admin.call(Broker1.DrainPool.self, .init(pool: "pool0")).pool
      #expect(pool.state == .draining)
      try wait(for: "the kernel's answer") { !broker.log.lines("reopened").isEmpty }
      #expect(try admin.pool().state == .draining)
      broker.provider.witnessesAtOpening.withLock { $0 = [:] }
      _ = try admin.call(Broker1.Detach.self, .init(pool: "pool1"))
      try wait(for: "the end of the drain") { try admin.pool().state == .drained }
    }

    @Test func `VFIO's memory that is still mapped is for no user, and then for the next`() throws {
      let broker = try TestBroker([Self.device(.reopening)])
      let watcher = try broker.client()
      try leaseAndDie(broker)
      let busy = BrokerError.deviceError(
        operation: "open", subject: "/dev/vfio/1", errno: EBUSY, cause: nil)
      broker.provider.failures.withLock { $0[Self.address] = busy }
      let bob = try TestProcess(broker, uid: 1002)
      for client in [try bob.connection(), watcher] {
        #expect(
          throws: ReplyError.broker(
            .poolBusy(
              pool: "pool0", reason: .uidExclusive, uid: UID(rawValue: 1001), leases: 0,
              holders: 0))
        ) {
          try client.acquire(
            .init(pool: "pool0", bytes: 4096, wait: Milliseconds(rawValue: 400)))
        }
      }
      #expect(broker.provider.openCount.value == 0)
      #expect(try watcher.pool().reach == "reached")
      broker.provider.failures.withLock { $0 = [:] }
      let lease = try bob.connection().acquire(
        .init(pool: "pool0", bytes: 4096, wait: Milliseconds(rawValue: 5000))
      ).lease
      #expect(lease.uid == UID(rawValue: 1002))
      #expect(broker.provider.openCount.value == 1)
    }

    @Test func `a pool that VFIO does not open any more is revoked, or detached`() throws {
      for isGone in [true, false] {
        let broker = try TestBroker([Self.device(.reopening)])
        let watcher = try broker.admin()
        try leaseAndDie(broker)
        broker.provider.failures.withLock {
          $0[Self.address] = .deviceError(
            operation: "open", subject: "/dev/vfio/1", errno: isGone ? ENODEV : EBUSY, cause: nil)
        }
        let bob = try TestProcess(broker, uid: 1002)
        #expect(throws: ReplyError.self) { try bob.connection().acquire(4096) }
        if isGone { #expect(try watcher.pool().state == .revoked) }
        _ = try watcher.call(Broker1.Detach.self, .init(pool: "pool0"))
        #expect(broker.provider.openCount.value == 0)
      }
    }

    @Test func `an Acquire that waits gets nothing that is unseen`() throws {
      let broker = try TestBroker([Self.device(.none)])
      try leaseAndDie(broker)
      let bob = try TestProcess(broker, uid: 1002)
      #expect(throws: Self.unseen()) {
        try bob.connection().acquire(
          .init(pool: "pool0", bytes: 4096, wait: Milliseconds(rawValue: 300)))
      }
    }

    @Test func `memory that was never lent is free, whatever the kernel can tell`() throws {
      let broker = try TestBroker([Self.device(.none)])
      let watcher = try broker.admin()
      let reply = try watcher.call(Broker1.Detach.self, .init(pool: "pool0"))
      #expect(reply == Broker1.Detach.Reply())
    }

    @Test func `a device that is still reached when it is opened is not attached`() throws {
      let broker = try TestBroker([Self.device(.fileLease)], attached: [])
      broker.provider.witnessesAtOpening.withLock { $0[Self.address] = .reached }
      let error = #expect(throws: ReplyError.self) {
        try broker.admin().call(Broker1.Attach.self, Self.attach)
      }
      guard case .broker(.deviceError(_, _, EBUSY, _)) = error else {
        Issue.record("refused with \(String(describing: error))")
        return
      }
      #expect(broker.provider.openCount.value == 0, "nothing stays open")
    }

    @Test func `a VFIO device whose group stayed open stays with its user`() throws {
      let broker = try TestBroker([Self.device(.reopening)])
      let watcher = try broker.admin()
      try leaseAndDie(broker)
      broker.provider.absent.withLock { $0 = [Self.address] }
      broker.tell(.requested(Self.address))
      try wait(for: "the old pool's end") {
        try watcher.call(Broker1.ListPools.self, .init()).pools.isEmpty
      }
      // Another pool has the group open: the kernel was not asked.
      broker.provider.absent.withLock { $0 = [] }
      broker.provider.witnessesAtOpening.withLock { $0[Self.address] = .unknown }
      let pool = try watcher.call(Broker1.Attach.self, Self.attach).pool
      #expect(pool.exclusiveUid == UID(rawValue: 1001))
    }

    @Test func `a VFIO device whose group stayed open is not attached while a holder lives`() throws
    {
      let broker = try TestBroker([Self.device(.reopening)])
      let watcher = try broker.admin()
      let alice = try TestProcess(broker, uid: 1001)
      _ = try alice.connection().acquire(4096)
      broker.tell(.requested(Self.address))
      try wait(for: "the revocation") { try watcher.pool().state == .revoked }
      var attach = Self.attach
      attach.name = "again"
      broker.provider.witnessesAtOpening.withLock { $0[Self.address] = .unknown }
      let error = #expect(throws: ReplyError.self) {
        try watcher.call(Broker1.Attach.self, attach)
      }
      #expect("\(String(describing: error))".contains("processes still hold pool pool0"))
      // Opened anew the kernel has seen that it has let go.
      broker.provider.witnessesAtOpening.withLock { $0[Self.address] = .free }
      _ = try watcher.call(Broker1.Attach.self, attach)
    }

    @Test func `a device that is removed and comes back stays with its user`() throws {
      let broker = try TestBroker([Self.device(.none)])
      let watcher = try broker.admin()
      try leaseAndDie(broker)
      broker.provider.absent.withLock { $0 = [Self.address] }
      broker.tell(.removed(Self.address))
      try wait(for: "the old pool's end") {
        try watcher.call(Broker1.ListPools.self, .init()).pools.isEmpty
      }
      broker.provider.absent.withLock { $0 = [] }
      let pool = try watcher.call(Broker1.Attach.self, Self.attach).pool
      #expect(pool.exclusiveUid == UID(rawValue: 1001) && pool.reach == "unknown")
      let bob = try TestProcess(broker, uid: 1002)
      #expect(throws: Self.unseen()) { try bob.connection().acquire(4096) }
      try leaseAndDie(broker)
    }

    // MARK: Across runs

    /// A directory for records, and brokers that have it one after the other over one device.
    private final class Runs {
      let directory =
        FileManager.default.temporaryDirectory.path() + "genpool-runs-\(UUID().uuidString)"

      deinit { try? FileManager.default.removeItem(atPath: directory) }

      var records: [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
      }

      /// A run; `over` is the one before, whose memory it has.
      func start(_ witness: Witness, over last: TestBroker? = nil) throws -> TestBroker {
        try start(OutstandingTests.device(witness), over: last)
      }

      func start(
        _ device: MemoryProvider.TestDevice, over last: TestBroker? = nil
      ) throws -> TestBroker {
        try TestBroker(
          [device], attached: [],
          configure: { [directory] in $0.runtimeDirectory = directory }, memoriesOf: last?.provider)
      }

      /// What is left of the records when a run is killed now.
      func crash(_ broker: TestBroker) throws {
        let copy = directory + "-copy"
        try FileManager.default.copyItem(atPath: directory, toPath: copy)
        broker.stop()
        try FileManager.default.removeItem(atPath: directory)
        try FileManager.default.moveItem(atPath: copy, toPath: directory)
      }
    }

    @Test func `a lessee that dies as the broker ends is none that lives`() throws {
      for _ in 0..<20 {
        let runs = Runs()
        let first = try runs.start(.none)
        _ = try first.admin().call(Broker1.Attach.self, Self.attach)
        let alice = try TestProcess(first, uid: 1001)
        _ = try alice.connection().acquire(4096)
        alice.kill()
        first.stop()
        let second = try runs.start(.none, over: first)
        let pool = try second.admin().call(Broker1.Attach.self, Self.attach).pool
        #expect(pool.exclusiveUid == UID(rawValue: 1001))
      }
    }

    @Test func `after an end in order another user is refused still, and the same goes on`() throws
    {
      let runs = Runs()
      let first = try runs.start(.none)
      _ = try first.admin().call(Broker1.Attach.self, Self.attach)
      try leaseAndDie(first)
      first.stop()
      #expect(runs.records.count == 1)
      let second = try runs.start(.none, over: first)
      let watcher = try second.admin()
      let pool = try watcher.call(Broker1.Attach.self, Self.attach).pool
      #expect(pool.exclusiveUid == UID(rawValue: 1001))
      let bob = try TestProcess(second, uid: 1002)
      #expect(throws: Self.unseen()) { try bob.connection().acquire(4096) }
      try leaseAndDie(second)
      _ = try watcher.call(Broker1.Detach.self, .init(pool: "pool0"))
      #expect(runs.records.isEmpty)
      _ = try watcher.call(Broker1.Attach.self, Self.attach)
      _ = try bob.connection().acquire(4096)
    }

    @Test(arguments: [true, false])
    func `after a run that did not end in order an admin has to force it`(isKilled: Bool) throws {
      let runs = Runs()
      let first = try runs.start(.none)
      _ = try first.admin().call(Broker1.Attach.self, Self.attach)
      let alice = try TestProcess(first, uid: 1001)
      _ = try alice.connection().acquire(4096)
      if isKilled { try runs.crash(first) } else { first.stop() }
      let second = try runs.start(.none, over: first)
      let watcher = try second.admin()
      let error = #expect(throws: ReplyError.self) {
        try watcher.call(Broker1.Attach.self, Self.attach)
      }
      guard case .broker(.deviceError("attach", _, EBUSY, let cause?)) = error else {
        Issue.record("refused with \(String(describing: error))")
        return
      }
      #expect(cause.contains("an earlier run") && cause.contains("uid 1001"))
      #expect(cause.contains("--force"))
      #expect(second.provider.openCount.value == 0, "nothing stays open")
      var forced = Self.attach
      forced.force = true
      #expect(try watcher.call(Broker1.Attach.self, forced).pool.exclusiveUid == nil)
      #expect(second.log.lines("forced").contains { $0.contains("lentTo=1001") })
      #expect(runs.records.isEmpty)
      let bob = try TestProcess(second, uid: 1002)
      _ = try bob.connection().acquire(4096)
    }

    @Test func `what an earlier run lent stays unseen, whatever becomes of a later lease`() throws {
      // Since Linux 7.0 sysfs answers for each lease of this run, and not for those before it.
      let runs = Runs()
      func start(over last: TestBroker? = nil) throws -> TestBroker {
        let broker = try runs.start(.perLease, over: last)
        broker.provider.witnessesAtOpening.withLock { $0[Self.address] = .unknown }
        _ = try broker.admin().call(Broker1.Attach.self, Self.attach)
        return broker
      }
      let first = try start()
      try leaseAndDie(first)
      first.stop()
      #expect(runs.records.isEmpty, "nothing was left of the lease")
      let second = try start(over: first)
      let alice = try TestProcess(second, uid: 1001)
      // The descriptor is this process's too, as a child's would be.
      let held = try alice.connection().acquire(4096)
      alice.kill()
      let leases = try second.admin()
      try wait(for: "alice's end") {
        try leases.call(Broker1.ListLeases.self, .init()).leases.map(\.state) == [.reached]
      }
      second.stop()
      #expect(runs.records.count == 1)
      let third = try start(over: second)
      let bob = try TestProcess(third, uid: 1002)
      #expect(throws: Self.unseen()) { try bob.connection().acquire(4096) }
      try leaseAndDie(third)
      let watcher = try third.admin()
      try wait(for: "the later lease's end") { try watcher.waitUntilClean().leases == 0 }
      #expect(throws: Self.unseen()) { try bob.connection().acquire(4096) }
      _ = try watcher.call(Broker1.Detach.self, .init(pool: "pool0"))
      #expect(runs.records.isEmpty)
      _ = try watcher.call(Broker1.Attach.self, Self.attach)
      _ = try bob.connection().acquire(4096)
      _ = held.lease.size
    }

    @Test func `what the kernel answers for needs no record`() throws {
      let runs = Runs()
      let first = try runs.start(.fileLease)
      _ = try first.admin().call(Broker1.Attach.self, Self.attach)
      let alice = try TestProcess(first, uid: 1001)
      _ = try alice.connection().acquire(4096)
      #expect(runs.records.isEmpty)
      // VFIO's answer is of the opening: what is on record is void then.
      alice.kill()
      first.stop()
      #expect(runs.records.isEmpty)
      let second = try runs.start(.reopening, over: first)
      _ = try second.admin().call(Broker1.Attach.self, Self.attach)
      try leaseAndDie(second)
      #expect(runs.records.count == 1)
      try runs.crash(second)
      let third = try runs.start(.reopening, over: second)
      #expect(
        try third.admin().call(Broker1.Attach.self, Self.attach).pool.exclusiveUid == nil)
      #expect(runs.records.isEmpty)
    }

    @Test func `the kernel's answer for one source says nothing of another`() throws {
      let runs = Runs()
      let first = try runs.start(.none)
      _ = try first.admin().call(Broker1.Attach.self, Self.attach)
      try leaseAndDie(first)
      try runs.crash(first)
      let second = try runs.start(.reopening, over: first)
      #expect(throws: ReplyError.self) {
        try second.admin().call(Broker1.Attach.self, Self.attach)
      }
    }

    @Test func `what VFIO lent is free once the device is not VFIO's any more`() throws {
      let runs = Runs()
      let first = try runs.start(.reopening)
      _ = try first.admin().call(Broker1.Attach.self, Self.attach)
      try leaseAndDie(first)
      first.stop()
      #expect(runs.records.count == 1)
      var device = Self.device(.none)
      device.releasedSources = [.vfio]
      let second = try runs.start(device, over: first)
      #expect(
        try second.admin().call(Broker1.Attach.self, Self.attach).pool.exclusiveUid == nil)
      #expect(runs.records.isEmpty)
    }

    @Test func `however often it is attached by another source it stays with its user`() throws {
      let runs = Runs()
      let first = try runs.start(.none)
      _ = try first.admin().call(Broker1.Attach.self, Self.attach)
      try leaseAndDie(first)
      first.stop()
      var last = first
      for _ in 0..<3 {
        last = try runs.start(.reopening, over: last)
        let watcher = try last.admin()
        let pool = try watcher.call(Broker1.Attach.self, Self.attach).pool
        #expect(pool.exclusiveUid == UID(rawValue: 1001))
        // Its leases of the new source do not take the old record's place.
        try leaseAndDie(last)
        last.stop()
      }
      #expect(runs.records.count == 2, "one for each source")
    }

    @Test func `an admin's detach does not answer for VFIO`() throws {
      let broker = try TestBroker([Self.device(.reopening)])
      let watcher = try broker.admin()
      try leaseAndDie(broker)
      _ = try watcher.call(Broker1.Detach.self, .init(pool: "pool0"))
      // Another pool has the group open: the kernel was not asked.
      broker.provider.witnessesAtOpening.withLock { $0[Self.address] = .unknown }
      #expect(
        try watcher.call(Broker1.Attach.self, Self.attach).pool.exclusiveUid
          == UID(rawValue: 1001))
      _ = try watcher.call(Broker1.Detach.self, .init(pool: "pool0"))
      broker.provider.witnessesAtOpening.withLock { $0[Self.address] = .free }
      #expect(try watcher.call(Broker1.Attach.self, Self.attach).pool.exclusiveUid == nil)
    }

    @Test func `a user that waits in vain does not keep the memory's user from going on`() throws {
      let broker = try TestBroker([Self.device(.none)])
      try leaseAndDie(broker)
      let bob = try TestProcess(broker, uid: 1002)
      #expect(throws: Self.unseen()) {
        try bob.connection().acquire(
          .init(pool: "pool0", bytes: 4096, wait: Milliseconds(rawValue: 60_000)))
      }
      try leaseAndDie(broker)
    }

    @Test func `an Acquire that is refused leaves nothing on record`() throws {
      let runs = Runs()
      let broker = try runs.start(.none)
      let watcher = try broker.admin()
      _ = try watcher.call(Broker1.Attach.self, Self.attach)
      try wait(for: "the pool to be clean") { try watcher.pool().available == .mebibytes(1) }
      let bob = try TestProcess(broker, uid: 1002)
      #expect(throws: ReplyError.self) { try bob.connection().acquire(.mebibytes(2)) }
      #expect(throws: ReplyError.self) {
        try bob.connection().acquire(
          .init(bytes: .kibibytes(512), fit: .fixed, offset: .mebibytes(1)))
      }
      #expect(runs.records.isEmpty)
      try leaseAndDie(broker)
      #expect(runs.records.count == 1)
    }

    @Test func `what does not stay zero is scrubbed again although nothing tells who writes`()
      throws
    {
      let broker = try TestBroker([Self.device(.none)])
      let watcher = try broker.client()
      try leaseAndDie(broker)
      let alice = try TestProcess(broker, uid: 1001)
      let held = try alice.connection().acquire(.mebibytes(1))
      let map = try held.map()
      let end = ContinuousClock.now + .milliseconds(1500)
      try alice.connection().release(held.lease)
      // She writes on, as a child would.
      while .now < end { try map.write([UInt8](repeating: 1, count: 4096), at: .zero) }
      alice.kill()
      try wait(for: "the memory to be clean") { try watcher.pool().available == .mebibytes(1) }
    }

    @Test func `a directory that another user made is refused, and so is that user's link to one`()
      throws
    {
      for isLink in [false, true] {
        let runs = Runs()
        let target = isLink ? runs.directory + "-target" : runs.directory
        try FileManager.default.createDirectory(
          atPath: target, withIntermediateDirectories: false,
          attributes: [.posixPermissions: 0o700])
        if isLink {
          try FileManager.default.createSymbolicLink(
            atPath: runs.directory, withDestinationPath: target)
          try #require(unsafe lchown(runs.directory, 1002, 1002) == 0)
        } else {
          try #require(unsafe chown(runs.directory, 1002, 1002) == 0)
        }
        #expect(throws: SystemError.self) { _ = try runs.start(.none) }
        try FileManager.default.removeItem(atPath: target)
      }
    }

    @Test func `a record that cannot be read counts as held`() throws {
      let runs = Runs()
      _ = try runs.start(.none)
      let file = runs.directory + "/torn.outstanding"
      try #require(FileManager.default.createFile(atPath: file, contents: Data("{".utf8)))
      let broker = try runs.start(.none)
      let error = #expect(throws: ReplyError.self) {
        try broker.admin().call(Broker1.Attach.self, Self.attach)
      }
      #expect("\(String(describing: error))".contains(file))
      // It may be of other memory: force passes it by, and leaves it.
      var forced = Self.attach
      forced.force = true
      _ = try broker.admin().call(Broker1.Attach.self, forced)
      #expect(runs.records == ["torn.outstanding"])
      // The kernel's answer for one source is not for whatever that record is of.
      let other = try runs.start(.fileLease)
      #expect(throws: ReplyError.self) {
        try other.admin().call(Broker1.Attach.self, Self.attach)
      }
    }

    @Test func `records of an earlier boot are void`() throws {
      let runs = Runs()
      let first = try runs.start(.none)
      _ = try first.admin().call(Broker1.Attach.self, Self.attach)
      try leaseAndDie(first)
      try runs.crash(first)
      let file = runs.directory + "/" + (try #require(runs.records.first))
      let boot = try String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8)
        .trimmingCharacters(in: .whitespacesAndNewlines)
      let text = try String(contentsOfFile: file, encoding: .utf8)
      try #require(text.contains(boot))
      try text.replacingOccurrences(of: boot, with: "another").write(
        toFile: file, atomically: false, encoding: .utf8)
      let second = try runs.start(.none, over: first)
      #expect(
        try second.admin().call(Broker1.Attach.self, Self.attach).pool.exclusiveUid == nil)
    }

    @Test func `a lease that cannot be put on record is not given`() throws {
      let runs = Runs()
      let broker = try runs.start(.none)
      let watcher = try broker.admin()
      _ = try watcher.call(Broker1.Attach.self, Self.attach)
      try FileManager.default.removeItem(atPath: runs.directory)
      let error = #expect(throws: ReplyError.self) { try watcher.acquire(4096, pool: "pool0") }
      guard case .broker(.deviceError("write", _, ENOENT, _)) = error else {
        Issue.record("refused with \(String(describing: error))")
        return
      }
      try wait(for: "the pool to be clean") { try watcher.pool().available == .mebibytes(1) }
      #expect(try watcher.pool().leases == 0)
    }

    @Test func `a directory that others may write to is refused`() throws {
      let runs = Runs()
      try FileManager.default.createDirectory(
        atPath: runs.directory, withIntermediateDirectories: false,
        attributes: [.posixPermissions: 0o777])
      #expect(throws: SystemError.self) { _ = try runs.start(.none) }
    }
  }
}
