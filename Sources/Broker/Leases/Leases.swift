package import BrokerProtocol
import GenPool

/// The leases, the users' quotas, and the Acquires that wait: who may have which memory.
///
/// Knows pools by ``LeasablePool`` and clients by their identities: no device and no socket.
/// `Waiting` is what its user keeps with an Acquire that waits.
///
/// Invariant: of pools, quotas and places in the line that a decision grants from, none was owed to
/// an Acquire that waits ahead.
package final class Leases<Waiting> {
  /// An Acquire that waits for memory.
  package struct Pending {
    package let request: LeaseRequest
    package let waiting: Waiting
    var patience: Patience
    var wait: Wait
  }

  /// The time that an Acquire is ready to wait.
  package enum Patience {
    /// The time for which memory is being scrubbed that would do.
    case scrubbing
    /// The time until ``expire(_:)``, for others to end their leases too.
    case unexpired
    /// None any more.
    case expired
  }

  private var table: LeaseTable
  private var quotas: Quotas
  private var line = WaitingLine<Waiting>()
  /// The leases that Acquires with a request key got.
  private var keys: [Holder: [String: LeaseID]] = [:]

  /// A process as one of the users that it has been.
  private struct Holder: Hashable {
    let process: ProcessID
    let user: UID
  }

  package init(capacity: Int, quotas: Quotas) {
    table = LeaseTable(capacity: capacity)
    self.quotas = quotas
  }

  // MARK: Queries

  /// The number of leases that a process still has.
  package var heldCount: Int { table.heldCount }

  package subscript(id: LeaseID) -> LeaseTable.Entry? { table[id] }

  /// Whether a process still has a lease. O(1).
  package func isHolder(_ process: ProcessID) -> Bool { table.isHolder(process) }

  /// At most `limit` of the leases that a process still has. O(limit).
  package func held(by process: ProcessID, limit: Int) -> [LeaseTable.Entry] {
    table.held(by: process, limit: limit)
  }

  /// The leases of a pool that a process still has, in no order. O(n) in the pool's.
  package func held(in region: RegionID) -> [LeaseTable.Entry] {
    table.held(in: region)
  }

  /// The lease that a process has by a request key already, however often it connected since; nil
  /// when there is none. It is `session`'s from now on.
  /// - Throws: InvalidParameter when it was asked for otherwise.
  package func repeated(_ request: LeaseRequest) throws(BrokerError) -> LeaseTable.Entry? {
    let holder = Holder(process: request.process, user: request.user)
    guard let key = request.parameters.requestKey, let id = keys[holder]?[key],
      let lease = table[id], lease.isHeld
    else { return nil }
    // The same key for something else is a client's mistake, and no repetition.
    guard lease.request.isSame(as: request.parameters) else { throw .invalid("requestKey") }
    table.adopt(id, by: request.session)
    return table[id]
  }

  /// Some of the leases of a user or all, of a pool or all: see
  /// ``LeaseTable/page(from:limit:steps:of:in:)``.
  package func page(
    from place: inout Int, limit: Int, steps: Int, of user: UID?, in region: RegionID?
  ) -> (entries: [LeaseTable.Entry], isLast: Bool) {
    table.page(from: &place, limit: limit, steps: steps, of: user, in: region)
  }

  /// The lease that a client may release. Its owner is the process, not the connection: one that
  /// had to connect again may still release.
  /// - Throws: NoSuchLease; PermissionDenied for a lease of another process or user;
  ///   StaleGeneration.
  package func releasable(
    _ release: Broker1.Release.Parameters, by process: ProcessID, _ user: UID
  ) throws(BrokerError) -> LeaseTable.Entry {
    let lease = try held(release.lease)
    guard lease.process == process, lease.user == user else { throw .permissionDenied }
    guard lease.generation == release.generation else {
      throw .staleGeneration(lease: lease.id, generation: lease.generation)
    }
    return lease
  }

  /// The lease `id`, if a process still has it.
  /// - Throws: NoSuchLease.
  package func held(_ id: LeaseID) throws(BrokerError) -> LeaseTable.Entry {
    guard let lease = table[id], lease.isHeld else { throw .noSuchLease(lease: id) }
    return lease
  }

  /// Whether an Acquire waits for memory of a pool. O(1).
  package func isAwaited(_ region: RegionID) -> Bool { line.isAwaited(region) }

  // MARK: Deciding

  /// Whether `request` gets memory now: of the first of `pools` that can, but nothing that those
  /// ahead wait for. A lease that is granted is in the table.
  ///
  /// - Parameters:
  ///   - isPatient: whether it may wait for more than the scrubber.
  ///   - lookAgain: called for a pool that other users occupy, which may have changed.
  package func decide(
    _ request: LeaseRequest, isPatient: Bool, over pools: some LeasablePools,
    lookAgain: (RegionID) -> Void
  ) -> LeaseDecision<LeaseTable.Entry> {
    decide(request, isPatient: isPatient, over: pools, ahead: nil, lookAgain: lookAgain)
  }

  private func decide(
    _ request: LeaseRequest, isPatient: Bool, over pools: some LeasablePools, ahead place: Int?,
    lookAgain: (RegionID) -> Void
  ) -> LeaseDecision<LeaseTable.Entry> {
    let wanted = request.parameters.pool
    let caller = CallerGroups(request)
    let named = wanted.map { [pools.pool(named: $0)].compactMap(\.self) } ?? pools.list
    let candidates = named.filter { !$0.isDraining }
    guard !candidates.isEmpty else {
      return decide(
        caller, withoutPool: wanted, isPatient: isPatient, draining: named.first?.name,
        expected: pools.expected)
    }
    guard !table.isFull(for: request.account) else {
      let failure = BrokerError.leaseTableFull(capacity: table.capacity)
      guard isPatient else { return .denied(failure) }
      let all = candidates.map { ($0.id, Wait.Term.lasting) }
      return .mustWait(Wait(pools: Dictionary(uniqueKeysWithValues: all), failure: failure))
    }
    var failures: [BrokerError] = []
    var (terms, quota, erasures) = ([RegionID: Wait.Term](), Wait.Term?.none, [RegionID]())
    var poolQuotas: [PoolShare: Wait.Term] = [:]
    for pool in candidates {
      switch decide(request, caller, from: pool, ahead: place, lookAgain: lookAgain) {
      case .granted(let lease): return .granted(lease)
      case .denied(let failure): failures.append(failure)
      case .mustWait(let wait):
        failures.append(wait.failure)
        for (id, term) in wait.pools where isPatient || term == .brief { terms[id] = term }
        if let term = wait.quota, isPatient || term == .brief {
          quota = quota == .brief ? .brief : term
        }
        for (share, term) in wait.poolQuotas where isPatient || term == .brief {
          poolQuotas[share] = term
        }
        erasures += wait.erasures
      }
    }
    let failure = failures.min { $0.rank < $1.rank } ?? .noPool
    let wait = Wait(pools: terms, quota: quota, poolQuotas: poolQuotas, failure: failure)
    if !wait.isBrief, let first = erasures.first {
      terms[first] = .brief
      return .mustWait(
        Wait(
          pools: terms, quota: quota, poolQuotas: poolQuotas, erasures: [first], failure: failure))
    }
    return wait.isEmpty ? .denied(failure) : .mustWait(wait)
  }

  /// The decision where no attached pool is meant that leases: whether it waits for one that is
  /// expected.
  /// - Parameter draining: the first of those that are meant and lease no more.
  private func decide(
    _ caller: CallerGroups, withoutPool wanted: String?, isPatient: Bool, draining: String?,
    expected: [ExpectedPool]
  ) -> LeaseDecision<LeaseTable.Entry> {
    let named = expected.filter { wanted == nil || $0.name == wanted }
    let meant = named.filter { caller.denial(by: $0.access, of: $0.name) == nil }
    guard let first = meant.first else {
      if let one = named.first, let denial = caller.denial(by: one.access, of: one.name) {
        return .denied(denial)
      }
      if let draining { return .denied(.poolDraining(pool: draining)) }
      return .denied(wanted.map { .noSuchPool(pool: $0) } ?? .noPool)
    }
    guard isPatient else { return .denied(first.busy) }
    let pools = meant.map { ($0.id, Wait.Term.lasting) }
    return .mustWait(Wait(pools: Dictionary(uniqueKeysWithValues: pools), failure: first.busy))
  }

  private func decide(
    _ request: LeaseRequest, _ caller: CallerGroups, from pool: any LeasablePool, ahead place: Int?,
    lookAgain: (RegionID) -> Void
  ) -> LeaseDecision<LeaseTable.Entry> {
    let user = request.user
    if let denial = caller.denial(by: pool.policy.access, of: pool.name) { return .denied(denial) }
    let share = share(of: request, in: pool)
    do throws(BrokerError) {
      let size = try pool.size(of: request.parameters)
      var occupation = pool.occupation(against: user)
      if occupation.failure != nil {
        // The processes that keep it out may have let go by now.
        lookAgain(pool.id)
        occupation = pool.occupation(against: user)
      }
      switch occupation {
      case .granted: break
      case .mustWait(let wait): return .mustWait(wait)
      case .denied(let failure): return .denied(failure)
      }
      switch quotaDecision(on: request.account, size: size) {
      case .granted: break
      case .mustWait(let wait): return .mustWait(wait)
      case .denied(let failure): return .denied(failure)
      }
      switch quotaDecision(on: share, of: pool, size: size) {
      case .granted: break
      case .mustWait(let wait): return .mustWait(wait)
      case .denied(let failure): return .denied(failure)
      }
      if let term = line.term(of: request.account, ahead: place) {
        return .mustWait(Wait(quota: term, failure: pool.queued))
      }
      if let term = line.term(of: share, ahead: place) {
        return .mustWait(Wait(poolQuotas: [share: term], failure: pool.queued))
      }
      if let term = line.term(of: pool.id, ahead: place) {
        return .mustWait(Wait(pools: [pool.id: term], failure: pool.queued))
      }
      if pool.isDirty(for: user) {
        return .mustWait(Wait(erasures: [pool.id], failure: pool.full(size)))
      }
      switch try pool.take(size, of: request.parameters, for: user) {
      case .granted(let offset): return .granted(enter(request, pool, at: offset, size))
      case .mustWait(let wait): return .mustWait(wait)
      case .denied(let failure): return .denied(failure)
      }
    } catch {
      return .denied(error)
    }
  }

  /// Whether an account's quota has room for one more lease of `size`. O(1).
  private func quotaDecision(
    on account: UID, size: ByteCount
  ) -> LeaseDecision<Void> {
    let limits = quotas.limits(of: account)
    let usage = table.usage(of: account)
    guard let excess = usage.excess(over: limits, with: size) else { return .granted(()) }
    let failure = excess
    // Whatever it ends.
    if Usage().excess(over: limits, with: size) != nil { return .denied(failure) }
    let scrubbing = table.scrubbing(of: account)
    var lasting = usage
    lasting.bytes -= scrubbing.bytes
    lasting.leases -= scrubbing.leases
    let isBrief = lasting.excess(over: limits, with: size) == nil
    return .mustWait(Wait(quota: isBrief ? .brief : .lasting, failure: failure))
  }

  /// Whether an account's quota of a pool has room for one more lease of `size`. O(1).
  private func quotaDecision(
    on share: PoolShare, of pool: any LeasablePool, size: ByteCount
  ) -> LeaseDecision<Void> {
    let limits = pool.policy.quotas.limits(of: share.account)
    guard limits != .unlimited else { return .granted(()) }
    let usage = table.usage(of: share)
    guard let failure = usage.excess(over: limits, with: size, of: pool.name) else {
      return .granted(())
    }
    if Usage().excess(over: limits, with: size) != nil { return .denied(failure) }
    let scrubbing = table.scrubbing(of: share)
    var lasting = usage
    lasting.bytes -= scrubbing.bytes
    lasting.leases -= scrubbing.leases
    let isBrief = lasting.excess(over: limits, with: size) == nil
    return .mustWait(Wait(poolQuotas: [share: isBrief ? .brief : .lasting], failure: failure))
  }

  /// The account that a request has in a pool: as with all pools together, a user that belongs to
  /// another shares that one's limits, unless the pool has limits for it alone.
  private func share(of request: LeaseRequest, in pool: any LeasablePool) -> PoolShare {
    let user = request.user
    let isSingle = pool.policy.quotas.overrides[user] != nil
    return PoolShare(
      account: isSingle ? user : quotas.subordinates.owner(of: user) ?? user, region: pool.id)
  }

  private func enter(
    _ request: LeaseRequest, _ pool: any LeasablePool, at offset: ByteCount, _ size: ByteCount
  ) -> LeaseTable.Entry {
    let lease = LeaseTable.Entry(
      id: .random(), generation: pool.nextGeneration(), region: pool.id, offset: offset,
      size: size, process: request.process, session: request.session, user: request.user,
      account: request.account, poolAccount: share(of: request, in: pool).account,
      pid: request.pid, request: request.parameters, label: request.label,
      state: .leased)
    table.insert(lease)
    pool.begin(lease)
    if let key = request.parameters.requestKey {
      let holder = Holder(process: request.process, user: request.user)
      keys[holder, default: [:]][key] = lease.id
    }
    return lease
  }

  // MARK: Waiting

  /// Lets an Acquire wait, at the end of the line.
  package func park(
    _ request: LeaseRequest, for wait: Wait, _ patience: Patience, _ waiting: Waiting
  ) {
    line.append(Pending(request: request, waiting: waiting, patience: patience, wait: wait))
  }

  /// Ends the patience of a session's Acquire: ``retry(over:while:isThere:lookAgain:erase:)``
  /// settles it.
  package func expire(_ session: SessionID) { line.expire(session) }

  /// Memory of a pool came free, or will not any more; nil of any.
  package func noteChange(of pool: RegionID?) {
    if let pool { line.noteChange(of: pool) } else { line.noteChangeOfAll() }
  }

  /// Whether Acquires have to be decided on anew.
  package var hasChanges: Bool { line.hasChanges }

  /// Decides anew on those that wait for what changed, first come first: on one, and on more while
  /// `goesOn` says so. ``hasChanges`` tells whether some are left.
  /// - Parameter isThere: whether a connection is still there. The Acquire of one that is not is
  ///   dropped.
  /// - Returns: those that wait no longer, and how each ended.
  package func retry(
    over pools: some LeasablePools, while goesOn: () -> Bool, isThere: (SessionID) -> Bool,
    lookAgain: (RegionID) -> Void, erase: (RegionID) -> Void
  ) -> [(pending: Pending, result: Result<LeaseTable.Entry, BrokerError>)] {
    var settled: [(pending: Pending, result: Result<LeaseTable.Entry, BrokerError>)] = []
    repeat {
      guard let (place, one) = line.next() else { break }
      guard isThere(one.request.session) else {
        line.settle(place)
        continue
      }
      switch decide(
        one.request, isPatient: one.patience == .unexpired, over: pools, ahead: place,
        lookAgain: lookAgain)
      {
      case .granted(let lease):
        line.settle(place)
        settled.append((one, .success(lease)))
      case .denied(let failure):
        line.settle(place)
        settled.append((one, .failure(failure)))
      case .mustWait(let wait) where one.patience == .expired:
        line.settle(place)
        settled.append((one, .failure(wait.failure)))
      case .mustWait(let wait):
        line.keep(place, for: wait)
        wait.erasures.forEach(erase)
      }
    } while goesOn()
    return settled
  }

  /// Takes the Acquire of a session out of the line, unanswered.
  package func unpark(_ session: SessionID) -> Pending? { line.remove(session) }

  // MARK: Changing

  /// Limits from the next decision on: no lease ends by them.
  package func reconfigure(capacity: Int, quotas: Quotas) {
    table.capacity = capacity
    self.quotas = quotas
    line.noteChangeOfAll()
  }

  /// A session's connection ended: its leases are orphaned, whose number is returned. O(1).
  package func orphan(_ session: SessionID) -> Int { table.orphan(session) }

  /// A lease's holder must use it no longer, but has it still.
  /// - Returns: whether that is news for the holder.
  package func revoke(_ id: LeaseID) -> Bool {
    let isNews = table[id].map { $0.state != .revoked } ?? false
    table.setState(.revoked, of: id)
    return isNews
  }

  /// A pool's device does not answer: its leases are revoked, and those that ended are forgotten.
  /// - Returns: the leases whose holders have to be told.
  package func revokeAll(in region: RegionID) -> [LeaseTable.Entry] {
    let all = table.entries(in: region)
    for lease in all where !lease.isHeld { remove(lease.id) }
    return all.filter { $0.isHeld && revoke($0.id) }
  }

  /// A pool is gone: its leases are forgotten.
  package func removeAll(in region: RegionID) {
    for lease in table.entries(in: region) { remove(lease.id) }
  }

  /// A lease has ended; something may reach its memory yet.
  package func end(_ id: LeaseID) {
    forgetKey(of: id)
    table.setState(.reached, of: id)
  }

  /// The memory of an ended lease does not stay zero, or is scrubbed again.
  package func setContested(_ isContested: Bool, _ id: LeaseID) {
    guard let lease = table[id] else { return }
    table.setContested(isContested, id)
    // A quota that waits for it waits longer now, or less long.
    line.noteChange(of: lease.account)
    line.noteChange(of: PoolShare(of: lease))
  }

  /// Nothing reaches an ended lease's memory any more; it is not clean yet.
  package func quarantine(_ id: LeaseID) {
    forgetKey(of: id)
    table.setState(.quarantine, of: id)
  }

  /// Forgets a lease: its memory is clean, or gone.
  package func remove(_ id: LeaseID) {
    forgetKey(of: id)
    let wasFull = table.count >= table.capacity
    guard let lease = table.remove(id) else { return }
    line.noteChange(of: lease.account)
    line.noteChange(of: PoolShare(of: lease))
    if wasFull { line.noteChangeOfAll() }
  }

  private func forgetKey(of id: LeaseID) {
    guard let lease = table[id], let key = lease.request.requestKey else { return }
    let holder = Holder(process: lease.process, user: lease.user)
    guard keys[holder]?[key] == id else { return }
    keys[holder]?[key] = nil
    if keys[holder]?.isEmpty == true { keys[holder] = nil }
  }
}
