import BrokerProtocol
import GenPool
import LinuxSystem
import Logging

// Who gets memory.

extension LeaseBroker {
  /// How it goes to lease memory now.
  enum Attempt {
    case leased(LeaseTable.Entry)
    case mustWait(Wait)
    case refused(CallFailure)
  }

  /// The reply to an Acquire; nil when it comes later.
  func acquire(
    _ call: ReceivedCall, for session: Session
  ) throws(CallFailure) -> OutputQueue.Message? {
    // Nobody could take the descriptor.
    guard !session.isHungUp else { return nil }
    let request: Broker1.Acquire.Parameters = try parameters(of: call)
    if let lease = try repeated(request, of: session) { return try grant(lease) }
    try request.check()

    let time = request.wait?.duration
    let isPatient = time.map { $0 > .zero } ?? false
    switch attempt(request, for: session, behind: line, isPatient: isPatient) {
    case .leased(let lease): return try handOut(lease)
    case .refused(let failure): throw failure
    case .mustWait(let wait):
      if time == .zero { throw wait.failure }
      park(call, of: session, request, for: wait)
      return nil
    }
  }

  /// The lease that the session has by that request key already.
  private func repeated(
    _ request: Broker1.Acquire.Parameters, of session: Session
  ) throws(CallFailure) -> LeaseTable.Entry? {
    guard let key = request.requestKey, let id = session.leasesByRequestKey[key],
      let lease = leases[id], lease.state == .leased
    else { return nil }
    // The same key for something else is a client's mistake, and no repetition.
    guard lease.request.isSame(as: request) else { throw .invalid("requestKey") }
    return lease
  }

  /// The reply that hands a new lease out. If there is none, nor is the lease.
  func handOut(_ lease: LeaseTable.Entry) throws(CallFailure) -> OutputQueue.Message {
    do throws(CallFailure) {
      return try grant(lease)
    } catch {
      end(lease)
      throw error
    }
  }

  private func grant(_ lease: LeaseTable.Entry) throws(CallFailure) -> OutputQueue.Message {
    guard let region = regions.first(where: { $0.id == lease.region }),
      let description = describe(lease)
    else { throw .broker(.noSuchLease(lease: lease.id)) }
    return OutputQueue.Message(
      bytes: try encode(Broker1.Acquire.Reply(lease: description, descriptor: 0)),
      descriptor: try region.lendDescriptor())
  }

  /// The pools that may serve a request, in the order of preference.
  private func candidates(_ request: Broker1.Acquire.Parameters) -> [AttachedRegion] {
    regions.filter { !$0.isDraining && (request.pool == nil || $0.name == request.pool) }
  }

  /// Leases from the first pool that can, but nothing that those ahead wait for. `isPatient`: whether
  /// it may wait for more than the scrubber.
  func attempt(
    _ request: Broker1.Acquire.Parameters, for session: Session, behind line: Line, isPatient: Bool
  ) -> Attempt {
    let candidates = candidates(request)
    guard !candidates.isEmpty else {
      return .refused(.broker(request.pool.map { .noSuchPool(pool: $0) } ?? .noPool))
    }
    guard !leases.isFull else {
      let failure = CallFailure.broker(.leaseTableFull(capacity: leases.capacity))
      guard isPatient else { return .refused(failure) }
      let all = candidates.map { ($0.id, Wait.Term.lasting) }
      return .mustWait(Wait(pools: Dictionary(uniqueKeysWithValues: all), failure: failure))
    }
    var failures: [CallFailure] = []
    var pools: [AttachedRegion.ID: Wait.Term] = [:]
    var quota: Wait.Term?
    var mustBeErased: [AttachedRegion] = []
    for region in candidates {
      switch consider(region, for: request, of: session, behind: line) {
      case .leased(let lease): return .leased(lease)
      case .never(let failure): failures.append(failure)
      case .pool(.lasting, let failure) where !isPatient: failures.append(failure)
      case .quota(.lasting, let failure) where !isPatient: failures.append(failure)
      case .pool(let term, let failure):
        pools[region.id] = term
        failures.append(failure)
      case .quota(let term, let failure):
        quota = quota == .brief ? .brief : term
        failures.append(failure)
      case .erasure(let failure):
        mustBeErased.append(region)
        failures.append(failure)
      }
    }
    if !pools.values.contains(.brief), quota != .brief, let region = mustBeErased.first {
      erase(region)
      pools[region.id] = .brief
    }
    let failure = failures.min { $0.rank < $1.rank } ?? .broker(.noPool)
    guard !pools.isEmpty || quota != nil else { return .refused(failure) }
    return .mustWait(Wait(pools: pools, quota: quota, failure: failure))
  }

  /// What one pool answers, and what has to happen before it leases.
  private enum Answer {
    case leased(LeaseTable.Entry)
    case pool(Wait.Term, CallFailure)
    case quota(Wait.Term, CallFailure)
    case erasure(CallFailure)
    case never(CallFailure)
  }

  private func consider(
    _ region: AttachedRegion, for request: Broker1.Acquire.Parameters, of session: Session,
    behind line: Line
  ) -> Answer {
    do throws(CallFailure) {
      try region.refuseRevoked()
      let size = try region.size(of: request)
      let fit = try region.fit(of: request)
      // Those who keep it out may have let go by now.
      if region.refusal(of: session.user) != nil { followUp(region) }
      if let busy = region.refusal(of: session.user) { return .pool(.lasting, busy) }
      switch quotaVerdict(on: session.user, size: size) {
      case .within: break
      case .aboveForNow(let failure): return .quota(.brief, failure)
      case .above(let failure): return .quota(.lasting, failure)
      case .never(let failure): return .never(failure)
      }
      if let term = line.users[session.user] { return .quota(term, region.queue) }
      if let term = line.pools[region.id] { return .pool(term, region.queue) }
      if region.isOthers(than: session.user) { return .erasure(region.full(size)) }
      try noteOutstanding(region, session.user)
      switch try region.take(size, fit: fit) {
      case .taken(let offset):
        return .leased(enter(request, for: session, from: region, at: offset, size))
      case .missing(let term, let failure): return .pool(term, failure)
      }
    } catch {
      return .never(error)
    }
  }

  /// Counts what was refused for want of memory: by the pool that the caller is told of, and once,
  /// however often its allocator was asked.
  func count(_ failure: CallFailure) {
    func region(_ name: String) -> AttachedRegion? { regions.first { $0.name == name } }
    switch failure {
    case .broker(.poolFull(let pool, _, _)), .broker(.poolTooSmall(let pool, _, _)):
      region(pool)?.counts.failedFull += 1
    case .broker(.poolFragmented(let pool, _, _, _, _, _)):
      region(pool)?.counts.failedFragmented += 1
    default: break
    }
  }

  private func enter(
    _ request: Broker1.Acquire.Parameters, for session: Session, from region: AttachedRegion,
    at offset: ByteCount, _ size: ByteCount
  ) -> LeaseTable.Entry {
    let lease = LeaseTable.Entry(
      id: .random(), generation: region.nextGeneration(), region: region.id, offset: offset,
      size: size, process: session.process.id, session: session.id, user: session.user,
      pid: session.process.pid, request: request, state: .leased)
    leases.insert(lease)
    if let key = request.requestKey { session.leasesByRequestKey[key] = lease.id }
    region.addHolder(session.process.id, session.user)
    logger.notice("lease", metadata: metadata(of: lease))
    if region.noticePressure() {
      publish(
        Broker1.Event(event: .pressure, pool: region.name, available: region.available))
    }
    return lease
  }
}

extension Broker1.Acquire.Parameters {
  /// How long a request key may be.
  private static let keyLimit = 256

  /// Whether it asks for the same, however long it waits.
  fileprivate func isSame(as other: Self) -> Bool {
    var (left, right) = (self, other)
    left.wait = nil
    right.wait = nil
    return left == right
  }

  /// Refuses what makes no sense for any pool.
  fileprivate func check() throws(CallFailure) {
    guard bytes > .zero else { throw .invalid("bytes") }
    guard alignment?.isPowerOfTwo ?? true else { throw .invalid("alignment") }
    let fit = fit ?? .first
    guard [.first, .best, .orderAligned, .fixed].contains(fit) else { throw .invalid("fit") }
    guard alignment == nil || fit == .first else { throw .invalid("alignment") }
    guard (offset != nil) == (fit == .fixed) else { throw .invalid("offset") }
    guard wait?.rawValue ?? 0 >= 0 else { throw .invalid("wait") }
    guard (1...Self.keyLimit).contains(requestKey?.utf8.count ?? 1) else {
      throw .invalid("requestKey")
    }
  }
}

extension CallFailure {
  /// Which of several pools' reasons is told: the lowest, that a client can do most about.
  fileprivate var rank: Int {
    switch self {
    case .broker(.quotaExceeded), .broker(.poolFragmented): 0
    case .broker(.poolFull): 1
    case .broker(.poolBusy): 2
    case .broker(.poolRevoked): 4
    default: 3
    }
  }
}
