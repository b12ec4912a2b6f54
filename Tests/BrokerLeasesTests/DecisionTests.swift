import BrokerLeases
import BrokerProtocol
import GenPool
import Testing

/// The lease policy, without a device and without a connection.
struct DecisionTests {
  private let leases = Leases<String>(capacity: 8, quotas: Quotas())
  private let pool = PlainPool(1, .mebibytes(1))

  private func request(
    _ bytes: ByteCount, uid: UInt32 = 1001, session: Int = 1, wait: Int64? = nil,
    key: String? = nil, pool: String? = nil, isAdmin: Bool = false, groups: [UInt32] = []
  ) -> LeaseRequest {
    LeaseRequest(
      .init(
        pool: pool, bytes: bytes, requestKey: key, wait: wait.map(Milliseconds.init(rawValue:))),
      session: SessionID(rawValue: session), process: ProcessID(rawValue: session),
      user: UID(rawValue: uid), account: UID(rawValue: uid), pid: PID(rawValue: 1),
      isAdmin: isAdmin, groups: { groups })
  }

  private func decide(
    _ request: LeaseRequest, isPatient: Bool = false, _ pools: [PlainPool]? = nil
  ) -> LeaseDecision<LeaseTable.Entry> {
    leases.decide(
      request, isPatient: isPatient, over: PlainPools(pools ?? [pool]), lookAgain: { _ in })
  }

  private func retry(
    _ pools: [PlainPool]? = nil, isThere: (SessionID) -> Bool = { _ in true },
    erase: (RegionID) -> Void = { _ in }
  ) -> [(name: String, failure: BrokerError?)] {
    leases.noteChange(of: nil)
    return leases.retry(
      over: PlainPools(pools ?? [pool]), while: { true }, isThere: isThere, lookAgain: { _ in },
      erase: erase
    ).map { settled in
      switch settled.result {
      case .success: (settled.pending.waiting, nil)
      case .failure(let failure): (settled.pending.waiting, failure)
      }
    }
  }

  private func wait(in decision: LeaseDecision<LeaseTable.Entry>) throws -> Wait {
    guard case .mustWait(let wait) = decision else {
      Issue.record("decided \(decision)")
      throw BrokerError.noPool
    }
    return wait
  }

  @Test func `what is granted is in the table, and its process holds memory of the pool`() throws {
    guard case .granted(let lease) = decide(request(4096)) else {
      Issue.record("not granted")
      return
    }
    #expect(leases[lease.id]?.state == .leased && leases.heldCount == 1)
    #expect(pool.holders == [ProcessID(rawValue: 1)])
    leases.quarantine(lease.id)
    #expect(leases.heldCount == 0 && leases[lease.id] != nil)
    leases.remove(lease.id)
    #expect(leases[lease.id] == nil)
  }

  @Test func `without a pool, or one of that name, it is denied`() {
    #expect(decide(request(4096), []).failure == .noPool)
    #expect(
      decide(request(4096, pool: "other")).failure == .noSuchPool(pool: "other"))
    pool.isDraining = true
    #expect(decide(request(4096)).failure == .poolDraining(pool: "pool1"))
    #expect(decide(request(4096, pool: "pool1")).failure == .poolDraining(pool: "pool1"))
    #expect(decide(request(4096, pool: "other")).failure == .noSuchPool(pool: "other"))
  }

  @Test func `the first pool that can serves, and the reason that helps most is told`() {
    let small = PlainPool(2, 4096)
    _ = decide(request(4096), [small])
    guard case .granted(let lease) = decide(request(4096), [small, pool]) else {
      Issue.record("not granted")
      return
    }
    #expect(lease.region == pool.id)
    pool.occupant = UID(rawValue: 1002)
    #expect(decide(request(4096), [pool, small]).failure == small.full(4096))
  }

  @Test func `who may not lease is denied before anything else is looked at`() {
    let access = PoolAccess(
      users: [.init(name: "alice", number: 1001)], groups: [.init(name: "nvme", number: 7)])
    pool.policy.access = access
    let denial = BrokerError.poolDenied(pool: "pool1", users: ["alice"], groups: ["nvme"])
    // Not even that it could never have so much.
    #expect(decide(request(.gibibytes(1), uid: 1002), isPatient: true).failure == denial)
    #expect(decide(request(4096)).failure == nil)
    #expect(decide(request(4096, uid: 0)).failure == nil)
    #expect(decide(request(4096, uid: 1002, groups: [3, 7])).failure == nil)
    #expect(decide(request(4096, uid: 1002, groups: [3])).failure == denial)
    #expect(decide(request(4096, uid: 1002, isAdmin: true)).failure == nil)
    // Another pool's reason says more.
    let full = PlainPool(2, 4096)
    full.available = .zero
    #expect(decide(request(4096, uid: 1002), [pool, full]).failure == full.full(4096))
  }

  @Test func `an account's share of a pool is counted until its memory is clean`() throws {
    pool.policy.quotas = Quotas(defaults: .init(bytes: 8192, leases: 2))
    let other = PlainPool(2, .mebibytes(1))
    guard case .granted(let lease) = decide(request(8192)) else {
      Issue.record("not granted")
      return
    }
    let full = BrokerError.quotaExceeded(what: .bytes, limit: 8192, used: 8192, pool: "pool1")
    #expect(decide(request(1)).failure == full)
    #expect(decide(request(1, uid: 1002)).failure == nil, "another user has a share of its own")
    #expect(decide(request(1), [pool, other]).failure == nil, "another pool serves")
    #expect(
      decide(request(8193, uid: 1003), isPatient: true).failure
        == .quotaExceeded(what: .bytes, limit: 8192, used: 0, pool: "pool1"))
    #expect(
      try wait(in: decide(request(1), isPatient: true)).poolQuotas.values.map(\.self) == [.lasting])
    leases.quarantine(lease.id)
    #expect(try wait(in: decide(request(1))).poolQuotas.values.map(\.self) == [.brief])
    leases.remove(lease.id)
    #expect(decide(request(1)).failure == nil)
  }

  @Test func `a wait for a share of one pool keeps no other pool of the account waiting`() throws {
    pool.policy.quotas = Quotas(defaults: .init(leases: 1))
    let other = PlainPool(2, .mebibytes(1))
    guard case .granted(let lease) = decide(request(4096)) else {
      Issue.record("not granted")
      return
    }
    let wait = try wait(in: decide(request(4096, session: 2, pool: "pool1"), isPatient: true))
    leases.park(request(4096, session: 2, pool: "pool1"), for: wait, .unexpired, "first")
    #expect(decide(request(4096, session: 3, pool: "pool2"), [pool, other]).failure == nil)
    // Who asks after it does not pass it by.
    guard
      case .mustWait(let behind) = decide(
        request(4096, session: 4, pool: "pool1"), isPatient: true)
    else {
      Issue.record("does not wait")
      return
    }
    leases.park(request(4096, session: 4, pool: "pool1"), for: behind, .unexpired, "second")
    leases.remove(lease.id)
    let settled = leases.retry(
      over: PlainPools([pool, other]), while: { true }, isThere: { _ in true },
      lookAgain: { _ in }, erase: { _ in })
    #expect(settled.map(\.pending.waiting) == ["first"])
  }

  @Test func `another user waits only if it may wait for others`() throws {
    pool.occupant = UID(rawValue: 1002)
    guard case .denied(.poolBusy) = decide(request(4096)) else {
      Issue.record("not denied")
      return
    }
    let wait = try wait(in: decide(request(4096), isPatient: true))
    #expect(wait.pools == [pool.id: .lasting])
  }

  @Test func `where nothing will tell another user does not wait, and keeps no place in the line`()
  {
    (pool.occupant, pool.isUnseen) = (UID(rawValue: 1002), true)
    guard
      case .denied(.poolBusy(_, .unseen, _, _, _)) = decide(
        request(4096, wait: 10_000), isPatient: true)
    else {
      Issue.record("not denied")
      return
    }
    guard case .granted = decide(request(4096, uid: 1002)) else {
      Issue.record("its user does not go on")
      return
    }
  }

  @Test func `what another user could write to is erased first, unless something brief will do`()
    throws
  {
    pool.lastUser = UID(rawValue: 1002)
    #expect(try wait(in: decide(request(4096))).erasures == [pool.id])
    let scrubbed = PlainPool(2, 4096)
    (scrubbed.available, scrubbed.scrubbing) = (.zero, 4096)
    #expect(try wait(in: decide(request(4096), [pool, scrubbed])).erasures.isEmpty)
  }

  @Test func `those behind get nothing of a pool that one ahead waits for`() throws {
    let big = request(.mebibytes(1), session: 1, wait: 10_000)
    _ = decide(request(4096, session: 9))
    leases.park(
      big, for: try wait(in: decide(big, isPatient: true)), .unexpired, "big")
    #expect(leases.isAwaited(pool.id))
    // There is room for it, but it came later.
    let small = request(4096, uid: 1003, session: 2, wait: 10_000)
    guard case .denied(.poolBusy(_, .queue, _, _, _)) = decide(small) else {
      Issue.record("it overtook")
      return
    }
    leases.park(
      small, for: try wait(in: decide(small, isPatient: true)), .unexpired, "small")
    #expect(retry().isEmpty)
    pool.available = .mebibytes(1)
    #expect(retry().map(\.name) == ["big"])
    pool.available = .mebibytes(1)
    #expect(retry().map(\.name) == ["small"])
    #expect(!leases.isAwaited(pool.id))
  }

  @Test func `an Acquire whose connection ended, or whose time is up, waits no longer`() throws {
    pool.occupant = UID(rawValue: 1002)
    for session in 1...3 {
      let request = request(4096, session: session, wait: 10_000)
      leases.park(
        request, for: try wait(in: decide(request, isPatient: true)),
        .unexpired, "\(session)")
    }
    #expect(retry(isThere: { _ in true }).isEmpty, "all of them have time")
    // Its time is what its timer says, not what the clock does.
    leases.expire(SessionID(rawValue: 2))
    #expect(leases.unpark(SessionID(rawValue: 3))?.waiting == "3")
    let settled = retry(isThere: { $0 != SessionID(rawValue: 1) })
    #expect(settled.map(\.name) == ["2"] && settled.first?.failure != nil)
    #expect(retry().isEmpty && !leases.isAwaited(pool.id))
  }

  @Test func `a request key gives the lease again, and only for the same request`() throws {
    guard case .granted(let lease) = decide(request(4096, key: "k")) else {
      Issue.record("not granted")
      return
    }
    #expect(try leases.repeated(request(4096, wait: 5, key: "k"))?.id == lease.id)
    #expect(throws: BrokerError.invalidParameter(parameter: "requestKey")) {
      try leases.repeated(request(8192, key: "k"))
    }
    #expect(
      try leases.repeated(request(4096, session: 2, key: "k")) == nil, "another process's")
    // The key is the process's: it gives the lease again to a later connection, whose it is then,
    // and also when an admin has revoked it.
    #expect(leases.orphan(SessionID(rawValue: 1)) == 1)
    let later = LeaseRequest(
      request(4096, key: "k").parameters, session: SessionID(rawValue: 7),
      process: ProcessID(rawValue: 1), user: UID(rawValue: 1001), account: UID(rawValue: 1001),
      pid: PID(rawValue: 1))
    #expect(try leases.repeated(later)?.state == .leased)
    #expect(leases.orphan(SessionID(rawValue: 7)) == 1)
    #expect(leases.revoke(lease.id))
    #expect(try leases.repeated(later)?.state == .revoked)
    leases.quarantine(lease.id)
    #expect(try leases.repeated(later) == nil)
  }

  @Test func `a quota counts what is not clean yet, and scrubbing makes the wait brief`() throws {
    leases.reconfigure(
      capacity: 8, quotas: Quotas(defaults: .init(bytes: 8192)))
    #expect(decide(request(16_384)).failure != nil, "never")
    guard case .granted(let lease) = decide(request(8192)) else {
      Issue.record("not granted")
      return
    }
    #expect(try wait(in: decide(request(4096), isPatient: true)).quota == .lasting)
    leases.quarantine(lease.id)
    pool.scrubbing = 8192
    #expect(try wait(in: decide(request(4096))).quota == .brief)
    leases.remove(lease.id)
    guard case .granted = decide(request(4096)) else {
      Issue.record("not granted")
      return
    }
  }

  @Test func `a full table denies, or lets those wait that may`() throws {
    leases.reconfigure(capacity: 1, quotas: Quotas())
    _ = decide(request(4096))
    #expect(decide(request(4096)).failure == .leaseTableFull(capacity: 1))
    #expect(
      try wait(in: decide(request(4096), isPatient: true)).pools == [pool.id: .lasting])
  }

  @Test func `root has some leases beyond the capacity`() {
    leases.reconfigure(capacity: 64, quotas: Quotas())
    for _ in 0..<64 { _ = decide(request(4096)) }
    #expect(decide(request(4096)).failure == .leaseTableFull(capacity: 64))
    guard case .granted = decide(request(4096, uid: 0)) else {
      Issue.record("root is not let in")
      return
    }
    #expect(decide(request(4096, uid: 0)).failure == .leaseTableFull(capacity: 64))
  }

  @Test func `memory that does not stay zero makes a quota's wait lasting`() throws {
    leases.reconfigure(capacity: 8, quotas: Quotas(defaults: .init(bytes: 8192)))
    guard case .granted(let lease) = decide(request(8192)) else {
      Issue.record("not granted")
      return
    }
    leases.quarantine(lease.id)
    #expect(try wait(in: decide(request(4096))).quota == .brief)
    leases.setContested(true, lease.id)
    #expect(decide(request(4096)).failure != nil)
    #expect(try wait(in: decide(request(4096), isPatient: true)).quota == .lasting)
    leases.setContested(false, lease.id)
    #expect(try wait(in: decide(request(4096))).quota == .brief)
  }

  @Test func `the leases of a connection that ended are orphans, once`() {
    _ = decide(request(4096, session: 1))
    _ = decide(request(4096, session: 2))
    #expect(leases.orphan(SessionID(rawValue: 1)) == 1)
    #expect(leases.orphan(SessionID(rawValue: 1)) == 0)
    #expect(leases.held(by: ProcessID(rawValue: 1), limit: 8).map(\.state) == [.orphaned])
  }

  @Test func `one that is there from the first page to the last is listed once`() {
    leases.reconfigure(capacity: 100, quotas: Quotas())
    let all = (1...10).compactMap { _ -> LeaseID? in
      guard case .granted(let lease) = decide(request(4096)) else { return nil }
      return lease.id
    }
    var place = 0
    var listed: [LeaseID] = []
    for round in 0... {
      let (entries, isLast) = leases.page(
        from: &place, limit: 3, steps: 4, of: UID(rawValue: 1001), in: pool.id)
      listed += entries.map(\.id)
      if isLast { break }
      // One ends and another begins between any two pages.
      leases.remove(all[round])
      _ = decide(request(4096))
    }
    #expect(Set(listed).count == listed.count)
    #expect(Set(listed).isSuperset(of: all.suffix(5)))
    place = 0
    #expect(
      leases.page(from: &place, limit: 3, steps: 100, of: UID(rawValue: 1), in: nil)
        .entries.isEmpty)
  }

  @Test func `a subordinate user counts for the one who has its number`() {
    let owner = UID(rawValue: 1000)
    let users = SubordinateUsers([
      .init(owner: owner, first: 100_000, count: 65_536),
      .init(owner: UID(rawValue: 1001), first: 165_536, count: 65_536),
      .init(owner: .root, first: 1_000_000, count: 1_000_000),
      .init(owner: UID(rawValue: 1002), first: 1_065_536, count: 65_536),
    ])
    let own = UID(rawValue: 165_535)
    let quotas = Quotas(overrides: [own: .init(leases: 1)], subordinates: users)
    func account(_ uid: UInt32) -> UInt32 { quotas.account(of: UID(rawValue: uid)).rawValue }
    #expect(
      [99_999, 100_000, 165_534, 165_536, 231_072].map(account) == [
        99_999, 1000, 1000, 1001, 231_072,
      ])
    #expect(account(165_535) == 165_535, "it has a quota of its own")
    #expect(account(1_000_007) == 1_000_000, "root's containers are not root")
    #expect(account(1_070_000) == 1002 && account(1_200_000) == 1_000_000, "one is inside another")
  }

  // MARK: Pools that are expected

  private func decide(
    _ request: LeaseRequest, isPatient: Bool, over pools: PlainPools
  ) -> LeaseDecision<LeaseTable.Entry> {
    leases.decide(request, isPatient: isPatient, over: pools, lookAgain: { _ in })
  }

  @Test(arguments: ["pool7", nil])
  func `where there is only an expected pool, an Acquire waits for it or is told`(
    name: String?
  ) throws {
    let pools = PlainPools([], expected: [ExpectedPool(id: RegionID(rawValue: 7), name: "pool7")])
    let failure = BrokerError.poolBusy(
      pool: "pool7", reason: .waiting, uid: nil, leases: 0, holders: 0)
    guard
      case .denied(failure) = decide(request(4096, pool: name), isPatient: false, over: pools),
      case .mustWait(let wait) = decide(request(4096, pool: name), isPatient: true, over: pools)
    else {
      Issue.record("neither waits nor is refused")
      return
    }
    #expect(wait.pools == [RegionID(rawValue: 7): .lasting] && wait.failure == failure)
  }

  @Test func `an expected pool changes nothing for an Acquire that another pool serves`() {
    let pools = PlainPools(
      [pool], expected: [ExpectedPool(id: RegionID(rawValue: 7), name: "pool7")])
    guard case .granted = decide(request(4096), isPatient: false, over: pools) else {
      Issue.record("refused")
      return
    }
    guard
      case .denied(.noSuchPool) = decide(request(4096, pool: "pool8"), isPatient: true, over: pools)
    else {
      Issue.record("waits for a pool that is not expected")
      return
    }
  }

  @Test func `the groups of a caller are read once, however many pools are for groups`() {
    var count = 0
    let access = PoolAccess(groups: [.init(name: "nvme", number: 7)])
    let pools = (1...3).map { PlainPool($0, .mebibytes(1)) }
    for pool in pools { pool.policy.access = access }
    let request = LeaseRequest(
      .init(bytes: 4096), session: SessionID(rawValue: 1), process: ProcessID(rawValue: 1),
      user: UID(rawValue: 1001), account: UID(rawValue: 1001), pid: PID(rawValue: 1),
      groups: {
        count += 1
        return [3]
      })
    #expect(decide(request, pools).failure == access.denial(of: "pool1"))
    #expect(count == 1)
  }

  @Test func `who may not lease of an expected pool does not wait for it`() {
    let access = PoolAccess(users: [.init(name: "alice", number: 1001)])
    let pools = PlainPools(
      [],
      expected: [ExpectedPool(id: RegionID(rawValue: 7), name: "pool7", access: access)])
    for name in [nil, "pool7"] {
      for isPatient in [false, true] {
        let decision = decide(
          request(4096, uid: 1002, pool: name), isPatient: isPatient, over: pools)
        #expect(decision.failure == access.denial(of: "pool7"))
      }
      guard
        case .mustWait = decide(request(4096, uid: 1001, pool: name), isPatient: true, over: pools)
      else {
        Issue.record("a user that may lease does not wait")
        return
      }
    }
  }

  @Test func `subordinate users share their owner's part of a pool, but for limits of their own`() {
    let leases = Leases<String>(
      capacity: 8,
      quotas: Quotas(
        subordinates: SubordinateUsers([
          .init(owner: UID(rawValue: 1001), first: 100_000, count: 65_536)
        ])))
    func decide(_ uid: UInt32) -> BrokerError? {
      // The account with all pools together; that in the pool is the pool's business.
      leases.decide(
        request(4096, uid: uid), isPatient: false, over: PlainPools([pool]), lookAgain: { _ in }
      ).failure
    }
    pool.policy.quotas = Quotas(
      defaults: .init(leases: 1), overrides: [UID(rawValue: 100_007): .init(leases: 2)])
    #expect(decide(100_001) == nil)
    let full = BrokerError.quotaExceeded(what: .leases, limit: 1, used: 1, pool: "pool1")
    #expect(decide(100_002) == full && decide(1001) == full, "one user to the pool")
    #expect(decide(1002) == nil)
    #expect(decide(100_007) == nil && decide(100_007) == nil)
    #expect(
      decide(100_007) == .quotaExceeded(what: .leases, limit: 2, used: 2, pool: "pool1"))
  }
}
