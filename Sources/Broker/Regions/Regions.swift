import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import Logging

/// Events of regions that concern leases, connections and the configuration.
protocol RegionObserver: AnyObject {
  /// A region was attached, revoked or removed.
  func publish(_ event: Broker1.Event)
  /// A region has been given up: its leases are void.
  func voidLeases(of region: AttachedRegion)
  /// A region's device does not answer, or not as memory: its leases must be used no longer.
  func revokeLeases(of region: AttachedRegion, because cause: String)
  /// Nothing reaches an ended lease's memory any more: it is being scrubbed.
  func leaseIsUnreached(_ lease: LeaseID)
  /// An ended lease's memory is clean.
  func leaseIsClean(_ lease: LeaseID, in region: AttachedRegion)
  /// Memory came free, or will not any more: those that wait may be served.
  func memoryChanged()
  /// Scrubbed slices were taken in: those that wait may be served at once.
  func scrubbed()
  /// Processes hold nothing of a region any more.
  func forget(_ processes: [ProcessID])
  /// Whether an Acquire waits for memory of a region.
  func isAwaited(_ region: RegionID) -> Bool
  /// A region that was drained is detached now.
  func drained(_ name: String)
  /// A device's memory is not held any more: it may be attached again.
  func deviceReady(_ device: String)
}

/// The attached regions, and all that happens to their memory between leases: admission, scrubbing,
/// revocation, draining, and who still reaches it.
///
/// Invariant: no descriptor of one region reaches another's memory.
final class Regions {
  /// The time between two looks at who reaches memory, while that is waited for: no event tells.
  private static let interval = Duration.milliseconds(250)
  /// The most leases of a region that the kernel is asked about at once, 30 us each.
  private static let questionsAtOnce = 64

  private let loop: EventLoop
  private let logger: Logger
  private unowned let observer: any RegionObserver
  private let outstanding: OutstandingRecords
  private let admission: RegionAdmission
  private let recorder: PoolRecorder
  /// Made with the regions, whose memory it scrubs.
  private var scrubs: ScrubQueue?
  /// In the order in which they were attached.
  private var regions: [AttachedRegion] = []
  private var lastNumber = 0

  init(
    on loop: EventLoop, _ configuration: LeaseBroker.Configuration, _ logger: Logger,
    for observer: any RegionObserver
  ) throws(SystemError) {
    self.loop = loop
    self.logger = logger
    self.observer = observer
    outstanding = try OutstandingRecords(directory: configuration.runtimeDirectory)
    admission = RegionAdmission(outstanding: outstanding, logger: logger)
    recorder = PoolRecorder(directory: configuration.recordDirectory, logger)
    scrubs = try ScrubQueue(on: loop, slice: configuration.scrubSlice) { [unowned self] slices in
      takeIn(slices)
    }
  }

  // MARK: Queries

  /// In the order in which they were attached.
  var all: [AttachedRegion] { regions }

  subscript(id: RegionID) -> AttachedRegion? { regions.first { $0.id == id } }

  func named(_ name: String) throws(BrokerError) -> AttachedRegion {
    guard let region = regions.first(where: { $0.name == name }) else {
      throw .noSuchPool(pool: name)
    }
    return region
  }

  private func contains(_ region: AttachedRegion) -> Bool { regions.contains { $0 === region } }

  /// The pools' names that are taken.
  var names: [String] { regions.filter { !$0.isAwaitedByKernel }.map(\.name) }

  /// Whether a process may reach memory of a region.
  func isHolder(_ process: ProcessID) -> Bool { regions.contains { $0.holders[process] != nil } }

  // MARK: Attaching

  /// Makes a region of opened memory. It is erased, and comes free as it is scrubbed.
  /// - Returns: the region, and the user that alone may lease of it for now; nil for all.
  func attach(
    _ open: consuming OpenBAR, named name: String, _ granule: GranuleSize, _ isolation: Isolation?,
    specification: String, isForced: Bool, audit: Logger.Metadata
  ) throws(BrokerError) -> (region: AttachedRegion, onlyUser: UID?) {
    if open.range.source == .vfio, open.range.witnessAtOpening == .free {
      // The kernel did not open it before every process had let go of it.
      for old in regions where old.device == open.device && old.isAwaitedByKernel {
        forgetHolders(of: old)
        forgetIfGone(old)
      }
    }
    lastNumber += 1
    let region = try AttachedRegion(
      id: RegionID(rawValue: lastNumber), name: name, granule: granule, isolation: isolation,
      records: outstanding, open: open)
    guard !regions.contains(where: { $0.name == region.name }) else {
      throw .poolExists(pool: region.name)
    }
    // The provider locks BARs against other processes. That descriptors of two pools of ours would
    // reach one BAR, and two users by them, is ours to refuse.
    if let other = regions.first(where: { $0.isInReach(of: region) }) {
      throw .deviceError(
        operation: "attach", subject: region.label, errno: EADDRINUSE,
        cause:
          "pool \(other.name) has a part of this \(other.bar == region.bar ? "BAR" : "device"), "
          + "and a descriptor reaches all of it")
    }
    // A process that holds memory of a device that was removed would reach this one by it. Through
    // VFIO the kernel's answer at the opening rules that out.
    if let old = regions.first(where: {
      $0.isRevoked && $0.overlaps(region)
        && !($0.source == .vfio && region.source == .vfio && region.witnessAtOpening == .free)
    }) {
      throw .deviceError(
        operation: "attach", subject: region.label, errno: EBUSY,
        cause: "processes still hold pool \(old.name), which is revoked, at these addresses")
    }
    let onlyUser = try admission.admit(
      region, specification, isForced: isForced, audit)
    regions.append(region)
    recorder.record(region)
    scrubs?.scrub(region, at: .zero, region.usable)
    return (region, onlyUser)
  }

  /// Records pools in another directory from now on, or in none.
  func record(in directory: String?) {
    recorder.directory = directory
    regions.forEach(recorder.record)
  }

  // MARK: Leases

  /// A lease's memory goes to the scrubber, once nothing reaches it, and only then back to the pool.
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

  /// Regions that are asked about in the loop's next round.
  private var asked: Set<RegionID> = []

  /// Asks the kernel about some of a region's ended leases, and goes on in the loop's next round:
  /// other clients are served between.
  private func askAboutEnded(of region: AttachedRegion) {
    guard !asked.contains(region.id) else { return }
    let isAnyFree = takeBack(region)
    guard region.lendings.hasFresh || isAnyFree else { return watchReach(of: region) }
    asked.insert(region.id)
    loop.after(.zero) { [unowned self] in
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
  /// - Returns: whether there were any.
  private func takeBack(_ region: AttachedRegion) -> Bool {
    let unreached = region.takeUnreached(limit: Self.questionsAtOnce)
    guard !unreached.isEmpty else { return false }
    for one in unreached {
      guard let lease = one.lease, !region.isRevoked else { continue }
      scrub(lease, of: region)
    }
    // What has let go may have been what kept a slice from staying zero.
    scrubContested(of: region)
    observer.forget(unreached.compactMap(\.lease?.process))
    return true
  }

  /// A process has died: it reaches nothing any more. What it passed on may.
  func removeHolder(_ process: ProcessID) {
    for region in regions where region.removeHolder(process) {
      // The process may have been the one that kept a slice from staying zero.
      scrubContested(of: region)
      noteStrays(of: region)
      followUp(region)
    }
  }

  /// Makes a region's free memory dirty, and with it all that its last user could have written.
  func erase(_ region: AttachedRegion) {
    do throws(PoolError) {
      for run in try region.takeFree() { scrubs?.scrub(region, at: run.offset, run.size) }
    } catch {
      revoke(region, because: "its pool lost count: \(error)")
    }
  }

  // MARK: Scrubbing

  private func takeIn(_ slices: [Scrubber.FinishedSlice]) {
    for slice in slices {
      // None: its region was revoked or detached since.
      guard let region = regions.first(where: { $0.scrubs[slice.job] != nil }) else { continue }
      takeIn(slice, of: region)
    }
    observer.scrubbed()
  }

  private func takeIn(_ slice: Scrubber.FinishedSlice, of region: AttachedRegion) {
    switch slice.outcome {
    case .clean where slice.since.erasures < region.moment.erasures:
      scrubs?.scrubAgain(slice, of: region)
    case .clean:
      do throws(PoolError) {
        guard let done = try region.settle(slice) else { return }
        observer.leaseIsClean(done, in: region)
      } catch {
        revoke(region, because: "its pool lost count: \(error)")
      }
    case .notZero(let fault):
      logger.warning("not zero", metadata: ["pool": "\(region.name)", "cause": "\(fault)"])
      let answer = region.answer
      if answer != .free {
        region.contest(slice)
        if answer == .unknown { scrubContestedLater(of: region) }
      } else if slice.since.holderChanges < region.moment.holderChanges {
        scrubs?.scrubAgain(slice, of: region)
      } else {
        // No process could write, so it is the device.
        revoke(region, because: "\(fault)")
      }
    case .failed(let fault): revoke(region, because: "\(fault)")
    case .closed: break
    }
  }

  /// Scrubs again what did not stay zero.
  private func scrubContested(of region: AttachedRegion) {
    for slice in region.takeContested() { scrubs?.scrubAgain(slice, of: region) }
  }

  /// The same in a while, where nothing tells when the writer has let go.
  private func scrubContestedLater(of region: AttachedRegion) {
    loop.after(.seconds(1)) { [unowned self] in
      if contains(region) { scrubContested(of: region) }
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
    observer.memoryChanged()
  }

  /// A device was removed: its regions are revoked. What holds them, a mapping over an address that
  /// may soon be another device's, keeps them in the list, so that nothing is attached in their
  /// place.
  func deviceRemoved(_ hasGone: (AttachedRegion) -> Bool) {
    for region in regions where hasGone(region) {
      revoke(region, because: "device \(region.device) was removed")
      region.lose()
      followUp(region)
    }
  }

  /// The kernel has seen to it that no process holds what it waited for.
  func holdersHaveLetGo(of isWaitedFor: (AttachedRegion) -> Bool) {
    for region in regions where isWaitedFor(region) { forgetHolders(of: region) }
  }

  /// The kernel wants a device back: its regions are revoked and let go of at once. The kernel
  /// waits for that, and for the holders, who are told.
  func deviceRequested(_ isWanted: (AttachedRegion) -> Bool) {
    for region in regions where isWanted(region) {
      revoke(region, because: "device \(region.device) is being removed, or its driver unbound")
      region.close()
      region.lose()
      forgetIfGone(region)
    }
  }

  /// Forgets a region without a device once no process that was lent its memory can reach it any
  /// more. Where the kernel cannot tell of others a record of what is outstanding stays.
  private func forgetIfGone(_ region: AttachedRegion) {
    guard region.hasGone, region.holders.isEmpty, region.answer != .reached, contains(region) else {
      return
    }
    observer.voidLeases(of: region)
    regions.removeAll { $0 === region }
    closeRecord(of: region)
    region.close()
    logger.info("gone", metadata: ["pool": "\(region.name)"])
    observer.publish(Broker1.Event(event: .regionRemoved, pool: region.name))
    observer.memoryChanged()
    // Its place may be taken by now. An observer that is told attaches, which is nothing for the
    // middle of a loop over regions.
    loop.after(.zero) { [unowned self] in observer.deviceReady(region.device) }
  }

  // MARK: Detaching

  /// Whether a region can be given back: no lease, no holder, and nothing that the kernel sees.
  func isIdle(_ region: AttachedRegion) -> Bool {
    forgetIdleHolders(of: region)
    _ = takeBack(region)
    return region.leaseCount == 0 && region.holders.isEmpty && region.answer != .reached
  }

  /// Gives a region back.
  /// - Parameter byAdmin: whether an admin asked for it, who is told what cannot be seen: nothing is kept on
  ///   record then.
  func detach(_ region: AttachedRegion, byAdmin: Bool = false, audit: Logger.Metadata) {
    observer.voidLeases(of: region)
    regions.removeAll { $0 === region }
    recorder.endRecord(of: region)
    var metadata = audit
    metadata["pool"] = "\(region.name)"
    if region.answer == .unknown {
      metadata["unseen"] = "\(region.blindness)"
      metadata["lastUid"] = region.lastUser.map { "\($0)" }
    }
    closeRecord(of: region, forgets: byAdmin)
    region.close()
    logger.notice("detach", metadata: metadata)
    observer.publish(Broker1.Event(event: .regionRemoved, pool: region.name))
    // An Acquire that waited for this pool has to hear that it is gone.
    observer.memoryChanged()
  }

  /// Detaches a region as soon as no process reaches its memory; none is leased of it meanwhile.
  /// - Returns: whether it is detached already. If not, the observer will be told.
  func drain(_ region: AttachedRegion, audit: Logger.Metadata) -> Bool {
    region.drain(audit)
    observer.memoryChanged()
    guard isIdle(region) else {
      watchReach(of: region)
      return false
    }
    detach(region, audit: audit)
    return true
  }

  /// Detaches a region that is draining when its last holder has gone.
  private func finishDraining(_ region: AttachedRegion) {
    guard region.isDraining, isIdle(region) else { return }
    // An observer that is told may attach, which is nothing for the middle of a loop over regions.
    loop.after(.zero) { [unowned self] in
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
    let isAnyFree = takeBack(region)
    switch region.answer {
    case .reached:
      watchReach(of: region)
      if isAnyFree { observer.memoryChanged() }
    case .unknown:
      // Nothing will tell. What ends now ends with a record of what is outstanding.
      forgetIfGone(region)
      finishDraining(region)
    case .free:
      scrubContested(of: region)
      forgetIfGone(region)
      finishDraining(region)
      observer.memoryChanged()
    }
  }

  /// Follows up on all regions whose end is waited for.
  func watchAwaited() {
    for region in regions where region.isReached { watchReach(of: region) }
  }

  /// Follows up in a moment, if anything waits for that.
  private func watchReach(of region: AttachedRegion) {
    guard isEndAwaited(region), region.beginWatch() else { return }
    loop.after(Self.interval) { [unowned self] in
      region.endWatch()
      if contains(region) { followUp(region) }
    }
  }

  private func isEndAwaited(_ region: AttachedRegion) -> Bool {
    if region.hasStrays { return true }
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
    guard region.hasStrays else { return }
    logger.warning(
      "stray",
      metadata: [
        "pool": "\(region.name)", "uid": "\(region.lastUser?.description ?? "none")",
        "cause": "a process that was not lent its memory still reaches it",
      ])
  }
}

extension AttachedRegion {
  /// Whether what reaches one may reach the other, by its device or by its physical addresses.
  fileprivate func overlaps(_ other: AttachedRegion) -> Bool {
    if reach.overlaps(other.reach) { return true }
    guard let mine = physical.flatMap({ AddressRange(start: $0, size: size) }),
      let others = other.physical.flatMap({ AddressRange(start: $0, size: other.size) })
    else { return false }
    return mine.overlaps(others)
  }

  /// Whether a descriptor of either reaches the other's memory. Those that were revoked and closed
  /// are the kernel's matter.
  fileprivate func isInReach(of other: AttachedRegion) -> Bool {
    guard device == other.device, !isAwaitedByKernel else { return false }
    return bar == other.bar || source == .vfio || other.source == .vfio
  }
}
