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
    fileprivate var patience: Patience
    fileprivate var wait: Wait
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
  /// First come first.
  private var pending: [Pending] = []
  /// The leases that Acquires with a request key got, by session and key.
  private var keys: [SessionID: [String: LeaseID]] = [:]

  package init(capacity: Int, quotas: Quotas) {
    table = LeaseTable(capacity: capacity)
    self.quotas = quotas
  }

  // MARK: Queries

  /// The number of leases that a process still has.
  package var heldCount: Int { table.held { _ in true }.count }

  package subscript(id: LeaseID) -> LeaseTable.Entry? { table[id] }

  /// Whether a process still has a lease. O(1).
  package func isHolder(_ process: ProcessID) -> Bool { table.isHolder(process) }

  /// The leases of a pool, or all, by pool and offset. O(n log n).
  package func entries(in region: RegionID? = nil) -> [LeaseTable.Entry] {
    table.entries(in: region)
  }

  /// The leases that a process still has. O(n).
  package func held(by process: ProcessID) -> [LeaseTable.Entry] {
    table.held { $0.process == process }
  }

  /// The lease that a session has by a request key already; nil when there is none.
  /// - Throws: InvalidParameter when it was asked for otherwise.
  package func repeated(
    _ parameters: Broker1.Acquire.Parameters, of session: SessionID
  ) throws(BrokerError) -> LeaseTable.Entry? {
    guard let key = parameters.requestKey, let id = keys[session]?[key], let lease = table[id],
      lease.state == .leased
    else { return nil }
    // The same key for something else is a client's mistake, and no repetition.
    guard lease.request.isSame(as: parameters) else { throw .invalid("requestKey") }
    return lease
  }

  /// The leases that a user may know of, of a pool or all: its own, or as an admin all.
  package func entries(
    in region: RegionID?, for user: UID, isAdmin: Bool
  ) -> [LeaseTable.Entry] {
    table.entries(in: region).filter { isAdmin || $0.user == user }
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

  /// Whether an Acquire waits for memory of a pool.
  package func isAwaited(_ region: RegionID) -> Bool {
    pending.contains { $0.wait.pools[region] != nil }
  }

  // MARK: Deciding

  /// Whether `request` gets memory now: of the first of `pools` that can, but nothing that those
  /// ahead wait for. A lease that is granted is in the table.
  ///
  /// - Parameters:
  ///   - isPatient: whether it may wait for more than the scrubber.
  ///   - lookAgain: called for a pool that other users occupy, which may have changed.
  package func decide(
    _ request: LeaseRequest, isPatient: Bool, over pools: [any LeasablePool],
    lookAgain: (RegionID) -> Void
  ) -> LeaseDecision<LeaseTable.Entry> {
    decide(request, isPatient: isPatient, over: pools, behind: line(), lookAgain: lookAgain)
  }

  private func decide(
    _ request: LeaseRequest, isPatient: Bool, over pools: [any LeasablePool], behind line: Line,
    lookAgain: (RegionID) -> Void
  ) -> LeaseDecision<LeaseTable.Entry> {
    let wanted = request.parameters.pool
    let candidates = pools.filter { !$0.isDraining && (wanted == nil || $0.name == wanted) }
    guard !candidates.isEmpty else {
      return .denied(wanted.map { .noSuchPool(pool: $0) } ?? .noPool)
    }
    guard !table.isFull else {
      let failure = BrokerError.leaseTableFull(capacity: table.capacity)
      guard isPatient else { return .denied(failure) }
      let all = candidates.map { ($0.id, Wait.Term.lasting) }
      return .mustWait(Wait(pools: Dictionary(uniqueKeysWithValues: all), failure: failure))
    }
    var failures: [BrokerError] = []
    var (terms, quota, erasures) = ([RegionID: Wait.Term](), Wait.Term?.none, [RegionID]())
    for pool in candidates {
      switch decide(request, from: pool, pools: pools, behind: line, lookAgain: lookAgain) {
      case .granted(let lease): return .granted(lease)
      case .denied(let failure): failures.append(failure)
      case .mustWait(let wait):
        failures.append(wait.failure)
        for (id, term) in wait.pools where isPatient || term == .brief { terms[id] = term }
        if let term = wait.quota, isPatient || term == .brief {
          quota = quota == .brief ? .brief : term
        }
        erasures += wait.erasures
      }
    }
    let failure = failures.min { $0.rank < $1.rank } ?? .noPool
    let wait = Wait(pools: terms, quota: quota, failure: failure)
    if !wait.isBrief, let first = erasures.first {
      terms[first] = .brief
      return .mustWait(Wait(pools: terms, quota: quota, erasures: [first], failure: failure))
    }
    return terms.isEmpty && quota == nil ? .denied(failure) : .mustWait(wait)
  }

  private func decide(
    _ request: LeaseRequest, from pool: any LeasablePool, pools: [any LeasablePool],
    behind line: Line, lookAgain: (RegionID) -> Void
  ) -> LeaseDecision<LeaseTable.Entry> {
    let user = request.user
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
      switch quotaDecision(on: user, size: size, pools) {
      case .granted: break
      case .mustWait(let wait): return .mustWait(wait)
      case .denied(let failure): return .denied(failure)
      }
      if let term = line.users[user] {
        return .mustWait(Wait(quota: term, failure: pool.queued))
      }
      if let term = line.pools[pool.id] {
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

  /// Whether a user's quota has room for one more lease of `size`. O(1) within the quota, else
  /// O(leases).
  private func quotaDecision(
    on user: UID, size: ByteCount, _ pools: [any LeasablePool]
  ) -> LeaseDecision<Void> {
    let limits = quotas.limits(of: user)
    let usage = table.usage(of: user)
    guard let excess = usage.excess(over: limits, with: size) else { return .granted(()) }
    let failure = excess
    // Whatever it ends.
    if Usage().excess(over: limits, with: size) != nil { return .denied(failure) }
    var lasting = usage
    for lease in table.quarantined(of: user) {
      guard let pool = pools.first(where: { $0.id == lease.region }),
        pool.isBeingScrubbed(lease.id)
      else { continue }
      lasting.bytes -= lease.size
      lasting.leases -= 1
    }
    let isBrief = lasting.excess(over: limits, with: size) == nil
    return .mustWait(Wait(quota: isBrief ? .brief : .lasting, failure: failure))
  }

  private func enter(
    _ request: LeaseRequest, _ pool: any LeasablePool, at offset: ByteCount, _ size: ByteCount
  ) -> LeaseTable.Entry {
    let lease = LeaseTable.Entry(
      id: .random(), generation: pool.nextGeneration(), region: pool.id, offset: offset,
      size: size, process: request.process, session: request.session, user: request.user,
      pid: request.pid, request: request.parameters, state: .leased)
    table.insert(lease)
    pool.begin(lease)
    if let key = request.parameters.requestKey {
      keys[request.session, default: [:]][key] = lease.id
    }
    return lease
  }

  // MARK: Waiting

  private func line() -> Line {
    pending.reduce(into: Line()) { $0.join($1.wait, $1.request.user) }
  }

  /// Lets an Acquire wait, at the end of the line.
  package func park(
    _ request: LeaseRequest, for wait: Wait, _ patience: Patience, _ waiting: Waiting
  ) {
    pending.append(Pending(request: request, waiting: waiting, patience: patience, wait: wait))
  }

  /// Ends the patience of a session's Acquire: the next ``retry(over:isThere:lookAgain:erase:)``
  /// settles it.
  package func expire(_ session: SessionID) {
    for index in pending.indices where pending[index].request.session == session {
      pending[index].patience = .expired
    }
  }

  /// Decides anew on all that wait, first come first. Call it when memory came free or will not any
  /// more, and when the time of one is up.
  /// - Parameter isThere: whether a connection is still there. The Acquire of one that is not is dropped.
  /// - Returns: those that wait no longer, and how each ended.
  package func retry(
    over pools: [any LeasablePool], isThere: (SessionID) -> Bool, lookAgain: (RegionID) -> Void,
    erase: (RegionID) -> Void
  ) -> [(pending: Pending, result: Result<LeaseTable.Entry, BrokerError>)] {
    var line = Line()
    var settled: [(pending: Pending, result: Result<LeaseTable.Entry, BrokerError>)] = []
    let all = pending
    // The list is empty meanwhile, so that none can be settled twice.
    pending = []
    var stillPending: [Pending] = []
    for var one in all where isThere(one.request.session) {
      switch decide(
        one.request, isPatient: one.patience == .unexpired, over: pools, behind: line,
        lookAgain: lookAgain)
      {
      case .granted(let lease): settled.append((one, .success(lease)))
      case .denied(let failure): settled.append((one, .failure(failure)))
      case .mustWait(let wait):
        wait.erasures.forEach(erase)
        if one.patience == .expired {
          settled.append((one, .failure(wait.failure)))
          continue
        }
        line.join(wait, one.request.user)
        one.wait = wait
        stillPending.append(one)
      }
    }
    pending = stillPending + pending
    return settled
  }

  /// Takes the Acquires of a session out of the line, unanswered.
  package func unpark(_ session: SessionID) -> [Pending] {
    let ended = pending.filter { $0.request.session == session }
    pending.removeAll { $0.request.session == session }
    return ended
  }

  // MARK: Changing

  /// Limits from the next decision on: no lease ends by them.
  package func reconfigure(capacity: Int, quotas: Quotas) {
    table.capacity = capacity
    self.quotas = quotas
  }

  /// A session's connection ended: its request keys are void, and its leases orphaned, which are
  /// returned.
  package func orphan(_ session: SessionID) -> [LeaseTable.Entry] {
    keys[session] = nil
    let orphans = table.held { $0.session == session && $0.state == .leased }
    for lease in orphans { table.setState(.orphaned, of: lease.id) }
    return orphans
  }

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

  /// Nothing reaches an ended lease's memory any more; it is not clean yet.
  package func quarantine(_ id: LeaseID) {
    forgetKey(of: id)
    table.setState(.quarantine, of: id)
  }

  /// Forgets a lease: its memory is clean, or gone.
  package func remove(_ id: LeaseID) {
    forgetKey(of: id)
    table.remove(id)
  }

  private func forgetKey(of id: LeaseID) {
    guard let lease = table[id], let key = lease.request.requestKey,
      keys[lease.session]?[key] == id
    else { return }
    keys[lease.session]?[key] = nil
    if keys[lease.session]?.isEmpty == true { keys[lease.session] = nil }
  }
}
