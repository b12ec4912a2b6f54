import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import Logging
import SystemPackage

/// The attached regions, and all that happens to their memory between leases: admission, scrubbing,
/// revocation, draining, and who still reaches it.
///
/// Invariant: no descriptor of one region reaches another's memory.
final class Regions {
  /// The time between two looks at who reaches memory, while that is waited for: no event tells.
  private static let interval = Duration.milliseconds(250)
  /// The same while more leases are reached than are asked about at once.
  private static let shortInterval = Duration.milliseconds(20)
  /// The most leases that the kernel is asked about at once, 30 us each.
  private static let questionsAtOnce = 64

  private let loop: EventLoop
  private let logger: Logger
  private unowned let observer: any RegionObserver
  private let opener: RegionOpener
  private let recorder: PoolRecorder
  /// Made with the regions, whose memory it scrubs.
  private var scrubs: ScrubQueue?
  /// The same.
  private var reopenings: ReopenQueue?
  /// The same, of memory that could not be opened yet.
  private var expectations: ExpectedPools?
  private let lister: DeviceLister
  private var regions = RegionList()
  private var lastNumber = 0
  /// The names of pools that an admin has drained, and neither resumed nor detached: a pool of such
  /// a name that comes again, by the configuration or by hot-plug, is drained from the start. Each
  /// with the pool as it was when it was drained.
  private var drained: [String: Broker1.Pool] = [:]

  init(
    of provider: any DeviceProvider, on loop: EventLoop,
    _ configuration: LeaseBroker.Configuration, _ logger: Logger, for observer: any RegionObserver
  ) throws(SystemError) {
    self.loop = loop
    self.logger = logger
    self.observer = observer
    opener = RegionOpener(
      provider, try OutstandingRecords(directory: configuration.runtimeDirectory), logger)
    lister = try DeviceLister(provider.listing, on: loop)
    recorder = PoolRecorder(directory: configuration.recordDirectory, logger)
    scrubs = try ScrubQueue(on: loop, slice: configuration.scrubSlice) { [unowned self] slice in
      takeIn(slice)
    }
    reopenings = try ReopenQueue(on: loop) { [unowned self] in takeIn($0) }
    expectations = try ExpectedPools(provider, on: loop) { [unowned self] in takeIn($0) }
    loop.every(.seconds(5)) { [unowned self] in reviewPlaces() }
  }

  // MARK: Queries

  /// In the order in which they were attached.
  var list: [AttachedRegion] { regions.all }

  subscript(id: RegionID) -> AttachedRegion? { regions[id] }

  func named(_ name: String) throws(BrokerError) -> AttachedRegion {
    guard let region = regions.named(name) else { throw .noSuchPool(pool: name) }
    return region
  }

  /// The pools that come once their memory is not in use any more, in the order in which they began
  /// to wait.
  var waiting: [ExpectedPools.Expectation] { expectations?.all ?? [] }

  /// The pool of that name that is waited for. Nil where an attached one has the name: not one that
  /// only the kernel waits for, whose successor this is.
  private func expectation(named name: String) -> ExpectedPools.Expectation? {
    guard let expectation = expectations?.named(name) else { return nil }
    return regions.isTaken(name) ? nil : expectation
  }

  /// The identity of a pool, attached or waited for.
  /// - Throws: NoSuchPool.
  func id(ofPool name: String) throws(BrokerError) -> RegionID {
    if let expectation = expectation(named: name) { return expectation.id }
    return try named(name).id
  }

  /// A pool with its chunks and free runs, attached or waited for.
  /// - Throws: NoSuchPool.
  func details(ofPool name: String) throws(BrokerError) -> Broker1.DescribePool.Reply {
    guard let expectation = expectation(named: name) else { return try named(name).details }
    return Broker1.DescribePool.Reply(
      pool: expectation.description, chunks: [], freeRuns: [], moreFreeRuns: false,
      largestFree: [])
  }

  /// Whether a caller may lease of a pool; nil when there is none of that name.
  func mayLease(of name: String, _ caller: Caller) -> Bool? {
    let policy = expectation(named: name)?.policy ?? regions.named(name)?.policy
    return policy.map(caller.mayLease)
  }

  private func contains(_ region: AttachedRegion) -> Bool { regions[region.id] != nil }

  /// The pools' names that are taken, of pools that are waited for too.
  var names: [String] {
    regions.all.filter { !$0.isAwaitedByKernel }.map(\.name) + waiting.map(\.name)
  }

  /// Whether a process may reach memory of a region.
  func isHolder(_ process: ProcessID) -> Bool {
    regions.all.contains { $0.holders[process] != nil }
  }

  /// Calls `handler` with the machine's devices that have memory, attached or not.
  func listDevices(_ handler: @escaping (DeviceLister.Result) -> Void) { lister.list(handler) }

  /// Describes a lease; nil if its region has gone.
  func describe(_ lease: LeaseTable.Entry) -> Broker1.Lease? {
    self[lease.region]?.describe(lease)
  }

  /// A lease in the log.
  func metadata(of lease: LeaseTable.Entry) -> Logger.Metadata {
    var metadata: Logger.Metadata = [
      "lease": "\(lease.id)", "generation": "\(lease.generation)",
      "pool": "\(self[lease.region]?.name ?? "detached")", "offset": "\(lease.offset)",
      "size": "\(lease.size)", "uid": "\(lease.user)", "pid": "\(lease.pid)",
    ]
    if let label = lease.label { metadata["label"] = "\(label)" }
    return metadata
  }

  /// Counts a request that was refused for want of memory: by the pool that the caller is told of,
  /// and once, however often its allocator was asked.
  func count(_ failure: BrokerError) {
    switch failure {
    case .poolFull(let pool, _, _, _), .poolTooSmall(let pool, _, _):
      try? named(pool).countFailure(isFragmented: false)
    case .poolFragmented(let pool, _, _, _, _, _):
      try? named(pool).countFailure(isFragmented: true)
    default: break
    }
  }

  // MARK: Attaching

  /// Makes a region of the memory that an Attach names. It is erased, and comes free as it is
  /// scrubbed. One that was waited for has come then.
  /// - Parameters:
  ///   - isolation: less than the opened memory promises, if that is wanted.
  ///   - policy: who may lease of it, and how much; nil for what the parameters name, or what was
  ///     wanted of one that was waited for.
  ///   - isSearched: whether a search chose the device, which then was not named by its address.
  ///   - byAdmin: whether an admin asks: a drain of that name is over then.
  func attach(
    _ parameters: Broker1.Attach.Parameters, isolation: Isolation? = nil,
    policy: PoolPolicy? = nil, isSearched: Bool = false, byAdmin: Bool = false,
    audit: Logger.Metadata = .broker
  ) throws(BrokerError) -> AttachedRegion {
    let named = try parameters.access?.members()
    let policy = policy ?? named.map { PoolPolicy(access: $0) }
    let request = try opener.request(parameters, isSearched: isSearched)
    let name = parameters.poolName(of: request)
    guard !regions.isTaken(name) else { throw .poolExists(pool: name) }
    let expectation = expectations?.named(name)
    if let expectation {
      // The same pool, which an admin tries or forces; another one may not take its name.
      guard expectation.request.memory == request.memory,
        try expectation.parameters.checkedGranule() == parameters.checkedGranule()
      else { throw .poolExists(pool: name) }
    }
    let open = try opener.open(request, besides: regions.all)
    let last = byAdmin ? drained.removeValue(forKey: name) : nil
    do throws(BrokerError) {
      return try enter(
        open, request, parameters, isolation ?? expectation?.isolation,
        policy ?? expectation?.policy ?? .open, came: expectation, audit)
    } catch {
      // No pool of an admin's came: the drain goes on.
      if let last { drained[name] = last }
      throw error
    }
  }

  /// Makes a region of opened memory.
  /// - Parameter expectation: the pool that it was waited for as, which has come then.
  private func enter(
    _ open: consuming OpenBAR, _ request: AttachRequest, _ parameters: Broker1.Attach.Parameters,
    _ isolation: Isolation?, _ policy: PoolPolicy, came expectation: ExpectedPools.Expectation?,
    _ audit: Logger.Metadata
  ) throws(BrokerError) -> AttachedRegion {
    if open.range.source == .vfio, open.range.witnessAtOpening == .free {
      // The kernel did not open it before every process had let go of it.
      for old in regions.all where old.device == open.device && old.isAwaitedByKernel {
        forgetHolders(of: old)
        forgetIfGone(old)
      }
    }
    lastNumber += 1
    var (region, metadata) = try opener.makeRegion(
      RegionID(rawValue: lastNumber), of: open, request, parameters, isolation, policy,
      besides: regions.all, audit)
    regions.append(region)
    recorder.record(region)
    scrubs?.scrub(region, at: .zero, region.usable)
    if let expectation {
      expectations?.remove(expectation.id)
      metadata["waited"] = "\((ContinuousClock.now - expectation.start).components.seconds) s"
    }
    logger.notice("attach", metadata: metadata)
    observer.publish(Broker1.Event(event: .regionAdded, pool: region.name))
    if drained[region.name] != nil, region.setDrained(true) {
      logger.notice(
        "drain",
        metadata: [
          "pool": "\(region.name)", "cause": "an admin had drained it before it was attached anew",
          "then": "no leases until genpoolctl pool drain \(region.name) --undo",
        ])
      observer.publish(Broker1.Event(event: .regionDraining, pool: region.name))
      completeDrain(of: region)
      watchReach(of: region)
    }
    observer.regionsChanged()
    return region
  }

  // MARK: Waiting for memory

  /// Attaches a pool, now or as soon as its memory is not in use any more: that is tried again and
  /// again.
  /// - Returns: the pool, attached or waiting.
  /// - Throws: errors that time does not mend.
  func attachWhenFree(
    _ parameters: Broker1.Attach.Parameters, isolation: Isolation?, policy: PoolPolicy? = nil,
    isSearched: Bool
  ) throws(BrokerError) -> Broker1.Pool {
    do throws(BrokerError) {
      return try attach(
        parameters, isolation: isolation, policy: policy, isSearched: isSearched
      ).description
    } catch  where error.mayPass {
      let request = try opener.request(parameters, isSearched: isSearched)
      let named = try parameters.access?.members()
      let name = parameters.poolName(of: request)
      if let expectation = expectations?.named(name) { return expectation.description }
      lastNumber += 1
      guard
        let expectation = expectations?.add(
          RegionID(rawValue: lastNumber), name, request, parameters, isolation: isolation,
          policy: policy ?? named.map { PoolPolicy(access: $0) } ?? .open, because: error)
      else { throw error }
      logger.warning(
        "waiting",
        metadata: [
          "pool": "\(name)", "memory": "\(request.memory)", "cause": "\(error)",
          "then": "attached as soon as its memory is not in use any more",
        ])
      return expectation.description
    }
  }

  private func takeIn(_ finished: ExpectedPools.Finished) {
    // None: it was given up, or an admin attached it. What was opened is closed.
    guard let expectation = expectations?[finished.id] else { return }
    do throws(BrokerError) {
      let memory = try opener.explained(finished.result, besides: regions.all)
      guard let open = memory.take() else { return }
      _ = try enter(
        open, expectation.request, expectation.parameters, expectation.isolation,
        expectation.policy, came: expectation, .broker)
    } catch  where error.mayPass {
      expectations?.postpone(
        expectation.id, because: error, isAwaited: observer.isAwaited(expectation.id))
    } catch {
      logger.error(
        "cannot attach", metadata: ["pool": "\(expectation.name)", "cause": "\(error)"])
      giveUp(expectation)
    }
  }

  /// Waits no longer for a pool: an Acquire that did finds out.
  private func giveUp(_ expectation: ExpectedPools.Expectation) {
    expectations?.remove(expectation.id)
    observer.regionsChanged()
  }

  /// Pools of a device that is ready may be attached: it came, or its memory is not held any more.
  private func deviceReady(_ device: String) {
    expectations?.hurry(device: device)
    observer.deviceReady(device)
  }

  /// Records pools in another directory from now on, or in none.
  func record(in directory: String?) {
    recorder.directory = directory
    regions.all.forEach(recorder.record)
  }

  // MARK: Leases

  /// Ends a lease. Its memory goes to the scrubber once nothing reaches it, and only then back to
  /// the pool.
  /// - Returns: whether it will come back. Not if the region is revoked.
  func end(_ lease: LeaseTable.Entry, in region: AttachedRegion) -> Bool {
    region.endLease(of: lease.size)
    if region.isWatchedPerLease {
      region.endLending(of: lease)
      askAboutEnded(of: region)
    } else if !region.isRevoked {
      scrub(lease, of: region)
    }
    if region.isRevoked ? region.hasGone : region.isDraining { followUp(region) }
    return !region.isRevoked
  }

  private func scrub(_ lease: LeaseTable.Entry, of region: AttachedRegion) {
    observer.leaseIsUnreached(lease.id)
    scrubs?.scrub(region, at: lease.offset, lease.size, lease: lease.id)
  }

  /// The questions that the kernel may be asked before other clients get their turn.
  private var questionsLeft = Regions.questionsAtOnce
  /// Regions that are asked about in the loop's next round.
  private var asked: Set<RegionID> = []

  /// Asks the kernel about leases that have just ended, and goes on in the loop's next round.
  private func askAboutEnded(of region: AttachedRegion) {
    let isAnyFree = takeBack(region, onlyFresh: true)
    guard region.lendings.hasFresh || isAnyFree else { return watchReach(of: region) }
    guard asked.insert(region.id).inserted else { return }
    loop.afterThis { [unowned self] in
      asked.remove(region.id)
      guard contains(region) else { return }
      if region.lendings.hasFresh {
        askAboutEnded(of: region)
      } else {
        followUp(region)
      }
    }
  }

  /// Takes back some of the ended leases that nothing reaches any more.
  /// - Parameter onlyFresh: asks about no lease again.
  /// - Returns: whether there were any.
  private func takeBack(_ region: AttachedRegion, onlyFresh: Bool) -> Bool {
    guard region.isWatchedPerLease else { return false }
    let (unreached, questions) = region.takeUnreached(limit: questionsLeft, onlyFresh: onlyFresh)
    if questions > 0 {
      if questionsLeft == Self.questionsAtOnce {
        loop.afterThis { [unowned self] in questionsLeft = Self.questionsAtOnce }
      }
      questionsLeft -= questions
    }
    noteStrays(of: region)
    guard !unreached.isEmpty else { return false }
    for one in unreached {
      guard let lease = one.lease, !region.isRevoked else { continue }
      scrub(lease, of: region)
    }
    // One of their holders may have kept a slice from staying zero.
    scrubContested(of: region)
    // Nothing is outstanding any more: nor is it on record.
    if region.answer == .free { closeRecord(of: region) }
    observer.forget(unreached.compactMap(\.lease?.process))
    return true
  }

  /// A process has died: it reaches nothing any more. What it passed on may.
  func removeHolder(_ process: ProcessID) {
    for region in regions.all where region.removeHolder(process) {
      // The process may have been the one that kept a slice from staying zero.
      scrubContested(of: region)
      noteStrays(of: region)
      followUp(region)
    }
  }

  /// Makes a region's free memory dirty, and with it all that its last user could have written.
  func erase(_ region: AttachedRegion) {
    restoreLength(of: region)
    do throws(PhysicalPoolError) {
      for run in try region.takeFree() { scrubs?.scrub(region, at: run.offset, run.size) }
    } catch {
      revoke(region, because: "its pool lost count: \(error)")
    }
  }

  // MARK: Scrubbing

  private func takeIn(_ slice: Scrubber.FinishedSlice) {
    // None: its region was revoked or detached since.
    guard let region = self[slice.region], region.scrubs[slice.job] != nil else { return }
    takeIn(slice, of: region)
    observer.scrubbed(region)
  }

  private func takeIn(_ slice: Scrubber.FinishedSlice, of region: AttachedRegion) {
    switch slice.outcome {
    case .clean where slice.since.erasures < region.moment.erasures:
      scrubs?.scrubAgain(slice, of: region)
    case .clean:
      do throws(PhysicalPoolError) {
        region.endReset(slice)
        guard let done = try region.settle(slice) else { return }
        observer.leaseIsClean(done, in: region)
      } catch {
        revoke(region, because: "its pool lost count: \(error)")
      }
    case .notZero(let fault):
      // Once in a reset, however many slices are looked at, and however often.
      if !fault.isAllOnes || !region.isPartlyAllOnes {
        logger.warning("not zero", metadata: ["pool": "\(region.name)", "cause": "\(fault)"])
      }
      let answer = region.answer
      if answer != .free {
        contest(slice, of: region)
        if answer == .unknown { scrubContestedLater(of: region) }
      } else if slice.since.holderChanges < region.moment.holderChanges {
        scrubs?.scrubAgain(slice, of: region)
      } else if fault.isAllOnes, region.isInReset(slice) {
        contest(slice, of: region)
        scrubContestedLater(of: region)
      } else {
        // No process could write, so it is the device.
        revoke(region, because: "\(fault)")
      }
    case .failed(let fault):
      switch restoreLength(of: region) {
      case .notApplicable: revoke(region, because: "\(fault)")
      case .intact
      where slice.since.holderChanges == region.moment.holderChanges && region.answer == .free:
        // No process could truncate the file, so it is the file system.
        revoke(region, because: "\(fault)")
      case .intact, .truncated:
        contest(slice, of: region)
        // Not at once: a holder may go on truncating.
        scrubContestedLater(of: region)
      }
    case .closed:
      // The memory was closed to be opened anew, under the scrubber.
      if !region.isRevoked { contest(slice, of: region) }
    }
  }

  /// Scrubs again what did not stay zero.
  private func scrubContested(of region: AttachedRegion) {
    for slice in region.takeContested() {
      if let lease = region.scrubs[slice.job]?.lease { observer.leaseIsContested(lease, false) }
      scrubs?.scrubAgain(slice, of: region)
    }
  }

  private func contest(_ slice: Scrubber.FinishedSlice, of region: AttachedRegion) {
    region.contest(slice)
    if let lease = region.scrubs[slice.job]?.lease { observer.leaseIsContested(lease, true) }
  }

  /// The same in a while, where nothing tells when the writer has let go.
  private func scrubContestedLater(of region: AttachedRegion) {
    guard region.beginRescrub() else { return }
    loop.after(.seconds(1)) { [unowned self] in
      region.endRescrub()
      if contains(region) { scrubContested(of: region) }
    }
  }

  // MARK: Truncation

  /// Puts the file of an emulated BAR back to its length if one of its holders has made it shorter,
  /// and has the leases revoked whose holders could have done it. The pool goes on.
  ///
  /// The kernel does not record which holder it was. All leases of a pool have descriptors of one
  /// file, and those of a `uid-exclusive` pool are of one user: so all are revoked.
  /// - Parameter spared: a lease that was not handed out yet.
  /// - Returns: the file's state until then.
  @discardableResult
  func restoreLength(of region: AttachedRegion, sparing spared: LeaseID? = nil) -> FileLength {
    let length: FileLength
    do throws(SystemError) {
      length = try region.restoreLength()
    } catch {
      logger.error(
        "truncated", metadata: ["pool": "\(region.name)", "cause": "\(error)"])
      return .notApplicable
    }
    guard case .truncated(let found) = length else { return length }
    let cause = "a holder of a descriptor truncated the BAR's file to \(found)"
    for other in regions.all where other.reach == region.reach {
      observer.revokeHeldLeases(of: other, sparing: spared, because: cause)
    }
    return length
  }

  // MARK: Devices

  /// Acts on news of a device.
  func handle(_ news: DeviceNews) {
    switch news {
    case .added(let device):
      logger.debug("device added", metadata: ["device": "\(printable(device))"])
      deviceReady(device)
    case .removed(let device):
      // The kernel has seen to it that no process holds what it waited for.
      for region in regions.all where region.device == device && region.source == .vfio {
        forgetHolders(of: region)
      }
      deviceRemoved { $0.device == device }
    case .requested(let device): deviceRequested { $0.device == device && $0.source == .vfio }
    case .lost: reviewDevices()
    }
  }

  /// Finds out which devices have come and gone.
  private func reviewDevices() {
    listDevices { [unowned self] result in
      switch result {
      case .success(let devices):
        let present = Set(devices.map(\.address))
        let known = Set(regions.all.map(\.device))
        deviceRemoved { !present.contains($0.device) }
        reviewPlaces()
        for device in present.subtracting(known).sorted() { deviceReady(device) }
      case .failure(let error): logger.error("list devices", metadata: ["cause": "\(error)"])
      }
    }
  }

  // MARK: Reopening

  /// A device was let go of: the kernel may be able to answer for the pools that had its group open
  /// besides. What waits for its answer goes on.
  private func allowReopening() {
    for region in regions.all where region.allowReopening() { watchReach(of: region) }
  }

  /// Has the kernel asked whether anything reaches a region's memory, by opening it anew.
  private func reopen(_ region: AttachedRegion) {
    region.beginReopening()
    reopenings?.reopen(region, region.opening)
  }

  private func takeIn(_ finished: ReopenQueue.Finished) {
    guard let region = self[finished.region], region.reopening == .underWay, !region.isRevoked
    else {
      // The region was detached or revoked meanwhile.
      return finished.memory.close()
    }
    switch finished.result {
    case .success(let reopened):
      do throws(SystemError) {
        try region.finishReopening(reopened)
      } catch {
        // The record that is left claims too much, never too little.
        logger.error("record of what was lent", metadata: ["cause": "\(error)"])
      }
      logger.info("reopened", metadata: ["pool": "\(region.name)", "reach": "\(region.answer)"])
      followUp(region)
      observer.memoryChanged(of: region)
    case .failure(let error) where error.isLasting: revoke(region, because: "\(error)")
    case .failure(let error):
      region.refuseReopening()
      if error.errno == .resourceBusy {
        noteStrays(of: region)
      } else {
        logger.warning("not reopened", metadata: ["pool": "\(region.name)", "cause": "\(error)"])
      }
      watchReach(of: region)
      observer.memoryChanged(of: region)
    }
  }

  // MARK: Revoking

  /// Gives a region up: its device does not answer, or not as memory. The others go on.
  private func revoke(_ region: AttachedRegion, because cause: String) {
    guard !region.isRevoked else { return }
    logger.error("revoke", metadata: ["pool": "\(region.name)", "cause": "\(cause)"])
    // Jobs are queued still, and the address may become another device's.
    region.memory.stopScrubbing()
    region.revoke(because: cause)
    recorder.endRecord(of: region)
    observer.publish(Broker1.Event(event: .regionRevoked, pool: region.name, cause: cause))
    observer.revokeLeases(of: region, because: cause)
    observer.regionsChanged()
  }

  /// A device was removed: its regions are revoked. What holds them, a mapping over an address that
  /// may soon be another device's, keeps them in the list, so that nothing is attached in their
  /// place.
  private func deviceRemoved(_ hasGone: (AttachedRegion) -> Bool) {
    lose(hasGone) { "device \($0.device) was removed" }
  }

  /// A BAR that was moved or resized is no longer behind the addresses of its pool, and mappings of
  /// a file that was made anew have ended. Root does that, and no event tells of it. One small file
  /// is read for each region.
  private func reviewPlaces() {
    for region in regions.all where !region.hasGone {
      let cause =
        switch region.presence {
        case .inPlace: String?.none
        case .moved: "its BAR of \(region.device) was moved or resized"
        case .fileReplaced:
          "the kernel has made the files of \(region.device) anew, as another BAR was resized"
        case .gone: "device \(region.device) was removed"
        }
      if let cause { lose({ $0 === region }) { _ in cause } }
    }
  }

  private func lose(
    _ isLost: (AttachedRegion) -> Bool, because cause: (AttachedRegion) -> String
  ) {
    for region in regions.all where isLost(region) {
      revoke(region, because: cause(region))
      region.lose()
      followUp(region)
    }
  }

  /// The kernel wants a device back: its regions are revoked and let go of at once. The kernel
  /// waits for that, and for the holders, who are told.
  private func deviceRequested(_ isWanted: (AttachedRegion) -> Bool) {
    for region in regions.all where isWanted(region) {
      revoke(region, because: "device \(region.device) is being removed, or its driver unbound")
      region.close()
      region.lose()
      forgetIfGone(region)
    }
    allowReopening()
  }

  /// Forgets a region without a device once no process that was lent its memory can reach it any
  /// more. Where the kernel cannot tell of others a record of what is outstanding stays.
  private func forgetIfGone(_ region: AttachedRegion) {
    guard region.hasGone, region.holders.isEmpty, region.answer != .reached, contains(region) else {
      return
    }
    observer.voidLeases(of: region)
    regions.remove(region)
    closeRecord(of: region)
    region.close()
    allowReopening()
    logger.info("gone", metadata: ["pool": "\(region.name)"])
    observer.publish(Broker1.Event(event: .regionRemoved, pool: region.name))
    observer.memoryChanged(of: region)
    // Its place may be taken by now. An observer that is told attaches, which is nothing for the
    // middle of a loop over regions.
    loop.afterThis { [unowned self] in deviceReady(region.device) }
  }

  // MARK: Detaching

  /// Whether a region can be given back: no lease, no holder, and nothing that the kernel sees.
  private func isIdle(_ region: AttachedRegion) -> Bool {
    forgetIdleHolders(of: region)
    _ = takeBack(region, onlyFresh: true)
    // While its memory is closed nothing of the region is in the way of the next opening.
    return region.leaseCount == 0 && region.holders.isEmpty
      && (region.answer != .reached || region.reopening == .refused)
  }

  /// Gives a region back for an admin. Its BAR is closed on return.
  /// - Returns: the user whose processes may still map it, where the kernel cannot tell.
  /// - Throws: NoSuchPool; PoolBusy.
  /// - Parameter byAdmin: whether an admin asks: a drain of that name is over then.
  func detach(
    pool name: String, byAdmin: Bool = false, audit: Logger.Metadata
  ) throws(BrokerError) -> Broker1.Detach.Reply {
    if let expectation = expectation(named: name) {
      var metadata = audit
      metadata["pool"] = "\(name)"
      metadata["cause"] = "\(expectation.failure)"
      logger.notice("waits no longer", metadata: metadata)
      if byAdmin { drained[name] = nil }
      giveUp(expectation)
      return Broker1.Detach.Reply()
    }
    let region = try named(name)
    guard isIdle(region) else { throw region.busy }
    restoreLength(of: region)
    var reply = Broker1.Detach.Reply()
    if region.answer == .unknown {
      reply = .init(unseenUid: region.lastUser, witness: region.witness.rawValue)
    }
    if byAdmin { drained[name] = nil }
    detach(region, byAdmin: true, audit: audit)
    return reply
  }

  /// Gives every region back, whatever still reaches it: the broker ends, and all leases are void.
  func detachAll() {
    for region in regions.all {
      var metadata = Logger.Metadata.broker
      metadata["cause"] = "the broker ends"
      metadata["leases"] = "\(region.leaseCount)"
      detach(region, audit: metadata)
    }
  }

  /// Gives a region back.
  /// - Parameter byAdmin: whether an admin asked for it, who is told what cannot be seen: nothing is kept on
  ///   record then.
  private func detach(
    _ region: AttachedRegion, byAdmin: Bool = false, audit: Logger.Metadata
  ) {
    observer.voidLeases(of: region)
    regions.remove(region)
    recorder.endRecord(of: region)
    var metadata = audit
    metadata["pool"] = "\(region.name)"
    if region.answer == .unknown {
      metadata["unseen"] = "\(region.blindness)"
      metadata["lastUid"] = region.lastUser.map { "\($0)" }
    }
    closeRecord(of: region, forgets: byAdmin)
    region.close()
    allowReopening()
    logger.notice("detach", metadata: metadata)
    observer.publish(Broker1.Event(event: .regionRemoved, pool: region.name))
    // An Acquire that waited for this pool has to hear that it is gone.
    observer.memoryChanged(of: region)
  }

  /// Detaches a region as soon as no process reaches its memory; none is leased of it meanwhile.
  /// - Returns: the reason why it is not detached yet, in which case the observer will be told;
  ///   else nil.
  /// - Throws: NoSuchPool.
  func drain(pool name: String) throws(BrokerError) -> BrokerError? {
    if expectation(named: name) != nil {
      _ = try detach(pool: name, audit: .broker)
      return nil
    }
    let region = try named(name)
    if !region.isDraining {
      observer.publish(Broker1.Event(event: .regionDraining, pool: name))
    }
    region.drain(.broker)
    observer.regionsChanged()
    guard isIdle(region) else {
      watchReach(of: region)
      return region.busy
    }
    detach(region, audit: .broker)
    return nil
  }

  /// Takes ``drain(pool:)`` back. An admin's drain stays.
  /// - Throws: NoSuchPool.
  func keep(pool name: String) throws(BrokerError) {
    let region = try named(name)
    if region.keep(), !region.isDraining {
      observer.publish(Broker1.Event(event: .regionResumed, pool: name))
    }
    observer.regionsChanged()
  }

  /// Keeps a region from leasing more for an admin, or lets it lease again. That of one that was
  /// drained, and whose memory was lost since, ends as well: it leases when it comes again.
  /// - Returns: the pool, as it was drained if it is not attached any more.
  /// - Throws: NoSuchPool; PoolBusy for one that is not attached yet; PoolRevoked.
  func setDrained(
    _ isDrained: Bool, pool name: String, audit: Logger.Metadata
  ) throws(BrokerError) -> Broker1.Pool {
    var metadata = audit
    metadata["pool"] = "\(name)"
    let last = isDrained ? nil : drained.removeValue(forKey: name)
    guard let region = pool(named: name), !region.isRevoked else {
      guard var last else {
        if let expectation = expectation(named: name) { throw expectation.pool.busy }
        throw try .poolRevoked(pool: name, cause: named(name).failure ?? "")
      }
      logger.notice("resume", metadata: metadata)
      if let expectation = expectation(named: name) { return expectation.description }
      if let region = regions.named(name) {
        _ = region.setDrained(false)
        return region.description
      }
      last.state = .revoked
      last.failure = "it is not attached, and leases when it is attached again"
      (last.available, last.largestFree) = (.zero, .zero)
      return last
    }
    defer { if isDrained { drained[name] = region.description } }
    guard region.setDrained(isDrained) else { return region.description }
    metadata["leases"] = "\(region.leaseCount)"
    logger.notice(isDrained ? "drain" : "resume", metadata: metadata)
    // One that is given up has been drained before, and leases no more afterwards.
    if region.drainAudit == nil {
      observer.publish(
        Broker1.Event(event: isDrained ? .regionDraining : .regionResumed, pool: name))
    }
    if isDrained {
      // Those that wait for it are told, for room in a quota too.
      observer.regionsChanged()
      completeDrain(of: region)
      watchReach(of: region)
    } else {
      observer.regionsChanged()
    }
    return region.description
  }

  /// Ends an admin's drain if nothing reaches the memory any more. Where the kernel cannot tell,
  /// it goes on: what is not known is not free.
  private func completeDrain(of region: AttachedRegion) {
    guard region.adminDrain == .underWay, !region.isRevoked, isIdle(region),
      region.answer == .free
    else { return }
    region.completeDrain()
    logger.notice("drained", metadata: ["pool": "\(region.name)"])
    observer.publish(Broker1.Event(event: .regionDrained, pool: region.name))
  }

  /// Gives a pool, attached or waited for, another policy. No lease ends by that.
  /// - Throws: NoSuchPool.
  func setPolicy(_ policy: PoolPolicy, ofPool name: String) throws(BrokerError) {
    if let expectation = expectation(named: name) {
      expectations?.setPolicy(policy, of: expectation.id)
    } else {
      let region = try named(name)
      guard region.policy != policy else { return }
      region.setPolicy(policy)
    }
    observer.regionsChanged()
  }

  /// Detaches a region that is draining when its last holder has gone.
  private func finishDraining(_ region: AttachedRegion) {
    completeDrain(of: region)
    guard region.drainAudit != nil, isIdle(region) else { return }
    // An observer that is told may attach, which is nothing for the middle of a loop over regions.
    loop.afterThis { [unowned self] in
      guard let audit = region.drainAudit, isIdle(region), contains(region) else { return }
      detach(region, audit: audit)
      observer.drained(region.name)
    }
  }

  private func closeRecord(of region: AttachedRegion, forgets: Bool = false) {
    do throws(SystemError) {
      try region.closeRecord(forgets: forgets)
    } catch {
      // The record that is left claims too much, never too little.
      logger.error("record of what was lent", metadata: ["cause": "\(error)"])
    }
  }

  // MARK: Reach

  /// Does what waits until no process reaches a region's memory, or looks again later.
  func followUp(_ region: AttachedRegion) {
    forgetIdleHolders(of: region)
    let isAnyFree = takeBack(region, onlyFresh: true)
    switch region.answer {
    case .reached:
      watchReach(of: region)
      if isAnyFree { observer.memoryChanged(of: region) }
    case .unknown where region.canReopen && isAnswerAwaited(region):
      if region.isReadyToReopen { reopen(region) } else { watchReach(of: region) }
    case .unknown:
      // Nothing will tell. What ends now ends with a record of what is outstanding.
      forgetIfGone(region)
      finishDraining(region)
    case .free:
      scrubContested(of: region)
      forgetIfGone(region)
      finishDraining(region)
      observer.memoryChanged(of: region)
    }
  }

  /// Follows up on pools that an Acquire waits for.
  func watchAwaited(by ids: some Sequence<RegionID>) {
    scrubs?.hurry()
    for id in ids { expectations?.hurry(id) }
    for region in ids.compactMap({ regions[$0] }) where region.isReached {
      watchReach(of: region)
    }
  }

  /// Follows up in a moment, if anything waits for that.
  private func watchReach(of region: AttachedRegion) {
    guard isEndAwaited(region), region.beginWatch() else { return }
    let interval: Duration =
      region.isReadyToReopen && region.reopening == .no
      ? .zero
      : region.lendings.endedCount > Self.questionsAtOnce ? Self.shortInterval : Self.interval
    loop.after(interval) { [unowned self] in
      region.endWatch()
      guard contains(region) else { return }
      // Only from here: an Acquire that looks again must not be what keeps itself waiting.
      if region.reopening == .refused, region.canReopen {
        reopen(region)
      } else {
        let isAnyFree = takeBack(region, onlyFresh: false)
        followUp(region)
        if isAnyFree { observer.memoryChanged(of: region) }
      }
    }
  }

  /// Whether an Acquire or an admin's drain waits for the kernel's answer.
  private func isAnswerAwaited(_ region: AttachedRegion) -> Bool {
    observer.isAwaited(region.id) || region.adminDrain == .underWay
  }

  private func isEndAwaited(_ region: AttachedRegion) -> Bool {
    if region.hasStrays || region.reopening == .refused { return true }
    if region.canReopen, isAnswerAwaited(region) { return true }
    guard region.canForgetHolders else { return false }
    return region.hasGone || region.isDraining || observer.isAwaited(region.id)
  }

  /// Forgets the holders of a region once all of them have let go.
  private func forgetIdleHolders(of region: AttachedRegion) {
    let holders = Array(region.holders.keys)
    region.forgetIdleHolders()
    observer.forget(holders)
  }

  /// Forgets the holders of a region whose device the kernel does not take back before all have let
  /// go.
  private func forgetHolders(of region: AttachedRegion) {
    let holders = Array(region.holders.keys)
    region.removeAllHolders()
    observer.forget(holders)
  }

  /// Logs that memory is reached although every process that it was lent to is gone. That the
  /// kernel cannot tell is no event: it is so after each lease, and the next user is told.
  private func noteStrays(of region: AttachedRegion) {
    guard region.hasStrays else { return region.forgetStrays() }
    guard region.noteStrays() else { return }
    logger.warning(
      "stray",
      metadata: [
        "pool": "\(region.name)", "uid": "\(region.lastUser?.description ?? "none")",
        "cause": "a process that was not lent its memory still reaches it",
      ])
  }
}

extension BrokerError {
  /// Whether memory that was not opened for this reason will not be later either.
  fileprivate var isLasting: Bool {
    switch self {
    case .deviceError(_, _, let errno, _): [ENODEV, ENOENT, ESTALE, ENXIO].contains(errno)
    default: true
    }
  }
}

extension Regions: LeasablePools {
  func pool(named name: String) -> AttachedRegion? {
    expectation(named: name) == nil ? regions.named(name) : nil
  }

  var expected: [ExpectedPool] { waiting.map(\.pool) }
}
