import BrokerProtocol
import GenPool
import Logging

// Who gets memory, and who waits for it.

/// An Acquire that waits for memory to be scrubbed.
struct ParkedAcquire {
  let session: Session
  let call: ReceivedCall
  let request: Broker1.Acquire.Parameters
}

extension LeaseBroker {
  private enum Attempt {
    case leased(LeaseTable.Entry)
    case mustWait
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

    let ahead = parked.reduce(into: Set()) { $0.formUnion(candidates($1.request).map(\.id)) }
    switch attempt(request, for: session, behind: ahead) {
    case .leased(let lease): return try grant(lease)
    case .refused(let failure): throw failure
    case .mustWait:
      session.isParked = true
      parked.append(ParkedAcquire(session: session, call: call, request: request))
      logger.debug("parked", metadata: session.metadata)
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
    guard lease.request == request else { throw .invalid("requestKey") }
    return lease
  }

  private func grant(_ lease: LeaseTable.Entry) throws(CallFailure) -> OutputQueue.Message {
    guard let region = regions.first(where: { $0.id == lease.region }),
      let description = describe(lease)
    else { throw .broker(.noSuchLease(lease: lease.id)) }
    return OutputQueue.Message(
      bytes: try encode(Broker1.Acquire.Reply(lease: description, descriptor: 0)),
      descriptors: [region.descriptor])
  }

  /// The pools that may serve a request, in the order of preference.
  private func candidates(_ request: Broker1.Acquire.Parameters) -> [AttachedRegion] {
    guard let name = request.pool else { return regions }
    return regions.filter { $0.name == name }
  }

  /// Leases from the first pool that can, but from none that others wait for.
  private func attempt(
    _ request: Broker1.Acquire.Parameters, for session: Session, behind: Set<AttachedRegion.ID>
  ) -> Attempt {
    let candidates = candidates(request)
    guard !candidates.isEmpty else {
      return .refused(.broker(request.pool.map { .noSuchPool(pool: $0) } ?? .noPool))
    }
    guard !leases.isFull else {
      return .refused(.broker(.leaseTableFull(capacity: leases.capacity)))
    }
    var failures: [CallFailure] = []
    var mustWait = false
    var mustBeErased: [AttachedRegion] = []
    for region in candidates {
      do throws(CallFailure) {
        try region.admit(session.user)
        let size = try region.size(of: request)
        let fit = try region.fit(of: request)
        if behind.contains(region.id) {
          mustWait = true
        } else if region.isOthers(than: session.user) {
          mustBeErased.append(region)
        } else if let offset = try region.take(size, fit: fit) {
          return .leased(enter(request, for: session, from: region, at: offset, size))
        } else {
          mustWait = true
        }
      } catch {
        failures.append(error)
      }
    }
    if !mustWait, let region = mustBeErased.first {
      mustWait = true
      erase(region)
    }
    guard !mustWait else { return .mustWait }
    return .refused(failures.min { $0.rank < $1.rank } ?? .broker(.noPool))
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
    logger.info("lease", metadata: metadata(of: lease))
    return lease
  }

  // MARK: Waiting

  /// Looks at all who wait, first come first. Called when memory came free or will not any more.
  func retryParked() {
    var ahead: Set<AttachedRegion.ID> = []
    var stillParked: [ParkedAcquire] = []
    var settled: [Session] = []
    let waiting = parked
    // Nobody is in the list meanwhile, so that what is settled here cannot be settled twice.
    parked = []
    for acquire in waiting {
      let session = acquire.session
      guard sessions[session.id] != nil else { continue }
      do throws(CallFailure) {
        switch attempt(acquire.request, for: session, behind: ahead) {
        case .mustWait:
          ahead.formUnion(candidates(acquire.request).map(\.id))
          stillParked.append(acquire)
          continue
        case .refused(let failure): throw failure
        case .leased(let lease):
          let message = try grant(lease)
          if !acquire.call.oneway { session.send(message) }
        }
      } catch {
        refuse(acquire.call, of: session, because: error)
      }
      session.isParked = false
      settled.append(session)
    }
    parked = stillParked
    for session in settled where sessions[session.id] != nil { proceed(session) }
  }

  /// Takes a session's Acquire out of the list, unanswered.
  func unpark(_ session: Session) {
    guard session.isParked else { return }
    session.isParked = false
    parked.removeAll { $0.session === session }
    // Those behind it may be first now.
    scheduleRetry()
  }

  /// Looks at all who wait in the loop's next round.
  func scheduleRetry() {
    loop.after(.zero) { [unowned self] in retryParked() }
  }
}

extension Broker1.Acquire.Parameters {
  /// How long a request key may be.
  private static let keyLimit = 256

  /// Refuses what makes no sense for any pool.
  fileprivate func check() throws(CallFailure) {
    guard bytes > .zero else { throw .invalid("bytes") }
    guard alignment?.isPowerOfTwo ?? true else { throw .invalid("alignment") }
    let fit = fit ?? .first
    guard [.first, .best, .orderAligned, .fixed].contains(fit) else { throw .invalid("fit") }
    guard alignment == nil || fit == .first else { throw .invalid("alignment") }
    guard (offset != nil) == (fit == .fixed) else { throw .invalid("offset") }
    guard (1...Self.keyLimit).contains(requestKey?.utf8.count ?? 1) else {
      throw .invalid("requestKey")
    }
  }
}

extension CallFailure {
  /// Which of several pools' reasons is told: the lowest, that a client can do most about.
  fileprivate var rank: Int {
    switch self {
    case .broker(.poolFragmented): 0
    case .broker(.poolFull): 1
    case .broker(.poolBusy): 2
    case .broker(.poolRevoked): 4
    default: 3
    }
  }
}
