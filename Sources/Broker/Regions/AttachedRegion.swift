import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import Logging
import SystemPackage

/// An attached piece of a device's memory, and the pool over it.
///
/// Every granule is in exactly one of three places: clean and free in the pool, in a lease, or
/// dirty. To the pool a dirty granule is an allocated one, so nothing dirty can be leased.
/// Invariant: available + dirty + leased = the whole granules of `size`.
final class AttachedRegion {
  typealias ID = RegionID

  let id: ID
  let name: String
  let device: String
  let bar: Int
  /// Where in the BAR it begins.
  let offset: ByteCount
  let numaNode: Int?
  let granule: GranuleSize

  // What its range says, kept here because the region itself belongs to `memory`.
  let size: ByteCount
  let mapOffset: ByteCount
  let physical: PhysicalAddress?
  let bus: BusAddress?
  let caching: Caching
  let isolation: Isolation
  let source: MemorySource?
  let label: String
  /// The kernel's means to tell whether memory that was handed out is still reached.
  let witness: Witness
  /// Its answer when the memory was opened.
  let witnessAtOpening: WitnessAnswer
  /// The sources through which no process reached it when it was opened, as the kernel showed.
  let releasedSources: Set<MemorySource>
  /// The memory that a descriptor of it reaches.
  let reach: OutstandingMemory.Reach
  /// Opens its memory anew.
  let opening: DeviceProvider.Opening
  /// Whether its memory is being given back and opened anew: the kernel tells by that whether
  /// anything reaches it.
  private(set) var reopening = Reopening.no
  private var lender: (any DescriptorLender)?
  /// What leases are sent: without a lender always the same, else from the first holder to the
  /// last.
  private var lent: LentDescriptor?

  let memory: RegionMemory
  /// The physical addresses of the memory: which of them are leased.
  let pool: RangeAllocator<PhysicalSpace>
  /// Where the pool's addresses begin: at the physical address, which is what alignments are of, or
  /// at ``standIn`` where it is unknown.
  let start: PhysicalAddress

  /// The users that may lease of it, and the limits of each.
  private(set) var policy: PoolPolicy
  /// On whose account it is detached once no process reaches it; nil unless it is given up.
  private(set) var drainAudit: Logger.Metadata?
  /// The stage of an admin's drain, which leaves it attached and is undone by an admin alone.
  private(set) var adminDrain = AdminDrain.none
  /// Whether no more is leased of it.
  var isDraining: Bool { drainAudit != nil || adminDrain != .none }
  /// Why the device's memory is not used any more; nil while it is.
  private(set) var failure: String?
  /// Its device was removed: it is forgotten once nobody holds it.
  private(set) var hasGone = false
  /// Its device comes back only when nobody holds it: what is left here is of no consequence then.
  var isAwaitedByKernel: Bool { hasGone && source == .vfio }
  /// The generation of the newest lease.
  private var newestGeneration: Int64 = 0
  /// Its leases, and what was refused for want of memory.
  private(set) var counts = LeaseCounts()
  var leaseCount: Int { counts.leases }
  var leased: ByteCount { counts.leased }

  /// The live processes that were given a lease here, each with the users it was as it got them. A
  /// descriptor cannot be taken back, so they stay until they die, or are seen to have let go:
  /// ``forgetIdleHolders()``. What a holder passed on, to a child or by a socket of its own, shows
  /// when all holders are gone: see ``hasStrays``.
  private(set) var holders: [ClientProcess.ID: Set<UID>] = [:]
  /// Whose processes could write here since it was last wholly zeroed.
  private(set) var lastUser: UID?
  /// The lendings, where the kernel answers for each lease apart: there are no holders then.
  private(set) var lendings = Lendings()
  /// Whether anything was lent since the kernel last saw that nothing is left of what was, where it
  /// answers for all leases as one; else whether an earlier run lent what nothing answers for.
  private var hasLent = false
  /// Whether the kernel has not seen yet that nothing is left of what was lent.
  var isOutstanding: Bool { !lendings.isEmpty || hasLent }
  /// The records of what was lent before it was attached, where that may still be in reach. They
  /// stay until the kernel answers for their own source, or an admin has them forgotten.
  private var inherited: [(id: OutstandingRecords.ID, record: OutstandingMemory)] = []
  /// Where what is outstanding is put on record.
  private let records: OutstandingRecords
  /// The record of what is outstanding, where the kernel cannot be asked at any time.
  private var outstanding: (id: OutstandingRecords.ID, record: OutstandingMemory)?
  private(set) var moment = Scrubber.Moment()

  /// Leases had no more than three quarters since pressure was noticed.
  private var isRelieved = true

  /// Where the calls of its pool are written down, if they are.
  private(set) var recording: Recording?
  /// Why they are not, or not where they should be now.
  private(set) var recordFailure: SystemError?

  /// Scrubs under way.
  private(set) var scrubs: [Scrubber.JobID: Scrub] = [:]
  /// What is being scrubbed or queued for it.
  private(set) var scrubbing = ByteCount.zero
  /// Slices that did not stay zero while somebody could still write to them.
  private(set) var contested: [Scrubber.FinishedSlice] = []

  /// The stages of an admin's drain.
  enum AdminDrain {
    case none
    /// Leases or processes still have its memory.
    case underWay
    /// Nothing reached the memory.
    case complete
  }

  /// The stages of opening memory anew.
  enum Reopening {
    /// The memory is open.
    case no
    /// Another thread is at it.
    case underWay
    /// The memory is closed: the kernel did not open it, since something reaches it.
    case refused
    /// The memory is open, but the kernel could not tell: another pool has the device's group open.
    case inVain
  }

  /// A piece of dirty memory on its way to be clean.
  struct Scrub {
    var remaining: ByteCount
    /// The lease that it was.
    let lease: LeaseID?
  }

  /// Maps what was opened. All of it is dirty: allocated, and to be scrubbed. `isolation` is given
  /// to promise less than the opened range does; nil promises what it can.
  init(
    id: ID, name: String, granule: GranuleSize, isolation: Isolation? = nil,
    policy: PoolPolicy = .open, records: OutstandingRecords,
    opening: @escaping DeviceProvider.Opening,
    open: consuming OpenBAR
  ) throws(BrokerError) {
    self.id = id
    self.policy = policy
    self.opening = opening
    self.records = records
    device = open.device
    bar = open.bar
    offset = open.offset
    numaNode = open.numaNode
    self.name = name
    self.granule = granule
    size = open.range.size
    mapOffset = open.range.mapOffset
    physical = open.range.physical
    bus = open.range.bus
    caching = open.range.caching
    self.isolation = isolation ?? open.range.isolation
    source = open.range.source
    label = open.range.label
    lender = open.range.lender
    witness = open.range.witness
    witnessAtOpening = open.range.witnessAtOpening
    let own = witnessAtOpening == .free ? [source].compactMap(\.self) : []
    releasedSources = open.releasedSources.union(own)
    do throws(SystemError) {
      reach = try OutstandingMemory.Reach(of: open)
    } catch {
      throw .system(error)
    }

    // A lease is whole pages for its client's mmap, and a granule's multiple for its devices.
    guard mapOffset.isMultiple(of: .page), size >= granule.byteCount,
      physical?.isAligned(to: granule.byteCount) ?? true
    else { throw .invalid("granule") }
    do {
      if lender == nil { lent = LentDescriptor(try open.range.descriptor.duplicate()) }
      let region = try Region(mapping: open.intoRange())
      start = physical ?? Self.standIn
      memory = RegionMemory(region)
    } catch {
      throw .system(error)
    }
    pool = RangeAllocator(
      granule: granule, name: self.name, device: DeviceKey(device),
      node: numaNode.map { NUMANode($0) })
    do {
      try pool.add(start: start, size: size, bus: bus)
      _ = try pool.allocate(usable, fit: .fixed(offset: .zero))
    } catch {
      throw .pool(error, label)
    }
  }

  /// In place of an unknown physical address: a multiple of every alignment that a lease may have,
  /// so that places are aligned counted from the region's start. Only distances from it are ever
  /// told.
  private static let standIn = PhysicalAddress(1 << 62)

  /// The whole granules.
  var usable: ByteCount { size.roundedDown(to: granule.byteCount) }

  /// Clean and free.
  var available: ByteCount { pool.available - (size - usable) }

  /// Not leased and not clean.
  var dirty: ByteCount {
    contested.reduce(scrubbing) { $0 + $1.size }
  }

  /// The one user that may lease here now, given the kernel's answer; nil for all.
  func exclusiveUser(_ answer: WitnessAnswer) -> UID? {
    guard isolation == .uidExclusive else { return nil }
    return holders.values.first?.first ?? lendings.anyUser ?? (answer == .free ? nil : lastUser)
  }

  // MARK: Holders

  /// Whether the kernel answers for each lease apart.
  var isWatchedPerLease: Bool { witness == .perLease }

  /// The number of what reaches the memory without a lease: processes, or leases that have ended.
  var strayCount: Int { isWatchedPerLease ? lendings.endedCount : holders.count }

  /// A process is about to be given a descriptor.
  func begin(_ lease: LeaseTable.Entry) {
    lastUser = lease.user
    guard !isWatchedPerLease else { return lendings.begin(lease.lending, of: lease.user) }
    if holders[lease.process] == nil { moment.holderChanges += 1 }
    holders[lease.process, default: []].insert(lease.user)
    hasLent = true
    allowReopening()
  }

  /// A lease has ended: ``takeUnreached(limit:onlyFresh:)`` returns it once nothing reaches its
  /// memory.
  func endLending(of lease: LeaseTable.Entry) { lendings.end(lease.lending, of: lease) }

  /// Asks the kernel about at most `limit` ended leases, and takes those of which nothing is left.
  /// - Parameter onlyFresh: asks about no lease again.
  /// - Returns: those, and the number of questions.
  func takeUnreached(
    limit: Int, onlyFresh: Bool
  ) -> (unreached: [Lendings.Ended], questions: Int) {
    guard let lender else { return ([], 0) }
    var questions = 0
    let unreached = lendings.takeUnreached(limit: limit, onlyFresh: onlyFresh) { lending in
      questions += 1
      return lender.witness(of: lending)
    }
    for one in unreached { lender.forget(one.lending) }
    if !unreached.isEmpty { moment.holderChanges += 1 }
    return (unreached, questions)
  }

  /// Processes may reach the memory, of what was lent before it was attached, and the kernel cannot
  /// tell.
  func inherit(_ records: [(id: OutstandingRecords.ID, record: OutstandingMemory)]) {
    inherited = records
    lastUser = records.lazy.flatMap(\.record.users).first.map(UID.init(rawValue:))
  }

  /// Whether the kernel answers, when the memory is opened, for what an earlier run lent.
  private var isAnsweredAtOpening: Bool {
    witness == .fileLease || witness == .perLease && witnessAtOpening != .unknown
  }

  /// Puts on record that memory is about to be lent to `user`, where the kernel cannot be asked at
  /// any time. A lease that is not on record is not given.
  private func noteOutstanding(_ user: UID) throws(SystemError) {
    guard !isAnsweredAtOpening else { return }
    // One record of one memory and source, however often the broker starts again.
    if outstanding == nil,
      let known = inherited.firstIndex(where: {
        $0.record.reach == reach && $0.record.source == source?.rawValue
      })
    {
      outstanding = inherited.remove(at: known)
      hasLent = true
    }
    var record = outstanding?.record ?? records.blank(label, reach, source)
    guard record.state != .held || !record.users.contains(user.rawValue) else { return }
    record.state = .held
    record.users = Set(record.users).union([user.rawValue]).sorted()
    try save(record)
  }

  /// Closes the record as the region is given up: removes it when nothing is outstanding, or an
  /// admin `forgets` it. What VFIO was asked for is not forgotten: only opening the device anew
  /// answers.
  func closeRecord(forgets: Bool = false) throws(SystemError) {
    if forgets, witness != .reopening {
      for (id, _) in inherited { try records.remove(id) }
      inherited = []
    }
    switch answer {
    case .free:
      if let (id, _) = outstanding { try records.remove(id) }
    case .unknown where forgets && witness != .reopening:
      if let (id, _) = outstanding { try records.remove(id) }
    case .unknown:
      guard isOutstanding || outstanding != nil else { return }
      // Without a record it was one that the kernel could answer for until now.
      var record = outstanding?.record ?? records.blank(label, reach, source)
      record.state = .ended
      if record.users.isEmpty { record.users = lastUser.map { [$0.rawValue] } ?? [] }
      try save(record)
    case .reached:
      // The user of ended leases is on record. Lessees that live are not accounted for.
      guard isWatchedPerLease || reopening == .refused, leaseCount == 0,
        var record = outstanding?.record
      else { return }
      record.state = .ended
      try save(record)
    }
    outstanding = nil
  }

  private func save(_ record: OutstandingMemory) throws(SystemError) {
    let id = outstanding?.id ?? OutstandingRecords.ID()
    try records.save(record, as: id)
    outstanding = (id, record)
  }

  /// A process has died. Returns whether it was a holder.
  func removeHolder(_ process: ClientProcess.ID) -> Bool {
    guard holders.removeValue(forKey: process) != nil else { return false }
    moment.holderChanges += 1
    if holders.isEmpty { stopLending() }
    return true
  }

  /// The kernel has seen to it that no process reaches the memory any more.
  func removeAllHolders() {
    holders = [:]
    stopLending()
    hasLent = false
    reopening = .no
    forgetStrays()
    inherited.removeAll { $0.record.isRefuted(by: reach, source) }
    moment.holderChanges += 1
  }

  /// Whether it can be seen that its holders have let go. Not while they have leases, unless those
  /// are of no use any more.
  var canForgetHolders: Bool { witness == .fileLease && (leaseCount == 0 || hasGone) }

  /// Forgets the holders once all of them have let go: no descriptor that they were given and no
  /// mapping made of one is left.
  func forgetIdleHolders() {
    guard canForgetHolders, isOutstanding else { return }
    // Ours would count. The next lessee gets another one.
    stopLending()
    if lender?.witness() == .free { removeAllHolders() }
  }

  // MARK: Reopening

  /// Whether opening it anew would tell whether anything reaches it, and disturbs no lessee.
  var canReopen: Bool {
    witness == .reopening && isolation == .uidExclusive && holders.isEmpty && leaseCount == 0
      && failure == nil && (hasLent || !inherited.isEmpty) && reopening != .underWay
      && reopening != .inVain
  }

  /// Whether the scrubber is done with it, too. What did not stay zero may wait: a process that
  /// writes is found out by this.
  var isReadyToReopen: Bool { canReopen && scrubbing == .zero }

  /// Another pool has let go of its device: the kernel may be able to tell now. Returns whether it
  /// was not before.
  @discardableResult
  func allowReopening() -> Bool {
    guard reopening == .inVain else { return false }
    reopening = .no
    return true
  }

  /// Its memory is about to be given back.
  func beginReopening() {
    reopening = .underWay
    lent = nil
    lender = nil
  }

  /// The kernel did not open it: something reaches it.
  func refuseReopening() { reopening = .refused }

  /// The memory is open again.
  func finishReopening(_ reopened: ReopenQueue.Reopened) throws(SystemError) {
    lender = reopened.lender
    guard reopened.witnessAtOpening == .free else {
      reopening = .inVain
      return
    }
    removeAllHolders()
    try closeRecord()
  }

  private func stopLending() {
    // VFIO has one for as long as the region lives: all that wait to be sent must be led to
    // /dev/null at once when the kernel wants the device back.
    if lender != nil, witness != .reopening { lent = nil }
  }

  /// The descriptor that a lease is sent.
  func lendDescriptor(for lease: LeaseTable.Entry) throws(BrokerError) -> LentDescriptor {
    if let lent { return lent }
    guard let lender else { throw .poolRevoked(pool: name, cause: failure ?? "detached") }
    do throws(SystemError) {
      guard !isWatchedPerLease || lendings.issue(lease.lending) else {
        throw SystemError(
          operation: "send", subject: "lease \(lease.id)", errno: Errno(rawValue: EDQUOT),
          cause: "a lease is sent \(Lendings.mostIssues) times at most")
      }
      let fresh = LentDescriptor(try lender.lend(for: lease.lending))
      // One of each lease's own is closed as soon as it was sent: it would count.
      if !isWatchedPerLease { lent = fresh }
      return fresh
    } catch {
      throw .system(error)
    }
  }

  /// Whether anything that was lent may still reach the memory. Asks the kernel when all holders
  /// are gone: what is left then is a child of one, or was passed on.
  var answer: WitnessAnswer {
    if !holders.isEmpty || reopening == .refused { return .reached }
    if reopening == .inVain { return .unknown }
    guard isOutstanding || !inherited.isEmpty else { return .free }
    if !lendings.isEmpty { return .reached }
    let answer: WitnessAnswer =
      !hasLent ? .free : isWatchedPerLease ? .unknown : lender?.witness() ?? .unknown
    return inherited.isEmpty ? answer : answer.joined(with: .unknown)
  }

  /// Whether the kernel sees that a process reaches the memory although all holders are gone.
  var hasStrays: Bool {
    isWatchedPerLease ? lendings.endedCount > 0 : holders.isEmpty && answer == .reached
  }

  /// Whether the log has a line of ``hasStrays``.
  private var areStraysNoted = false

  /// Returns whether ``hasStrays`` is to be logged: once until ``forgetStrays()``.
  func noteStrays() -> Bool {
    defer { areStraysNoted = true }
    return !areStraysNoted
  }

  func forgetStrays() { areStraysNoted = false }

  /// Whether a timer looks for the end of ``isReached``.
  private var isWatched = false

  /// A timer will look for the end of ``isReached``. Returns false when one does already.
  func beginWatch() -> Bool {
    defer { isWatched = true }
    return !isWatched
  }

  func endWatch() { isWatched = false }

  /// Whether a timer will have contested slices scrubbed again.
  private var isRescrubTimed = false

  /// A timer will have contested slices scrubbed again. Returns false when one does already.
  func beginRescrub() -> Bool {
    defer { isRescrubTimed = true }
    return !isRescrubTimed
  }

  func endRescrub() { isRescrubTimed = false }

  /// The longest time for which a device may read as all-ones because it is being reset: it must
  /// answer a second after that (PCIe 4.0 section 6.6.1), and is looked at once a second.
  private static let resetTime = Duration.milliseconds(2500)

  /// The times when slices were first seen to read as all-ones, by their offsets. Each slice has
  /// its own: a device may be dead in part, and other slices come clean.
  private var allOnesSince: [ByteCount: ContinuousClock.Instant] = [:]

  /// Whether any of its memory was seen to read as all-ones, and has not come clean since.
  var isPartlyAllOnes: Bool { !allOnesSince.isEmpty }

  /// A slice reads as all-ones. Whether that may be a reset, not the device's end.
  func isInReset(_ slice: Scrubber.FinishedSlice) -> Bool {
    let now = ContinuousClock.now
    let first = allOnesSince[slice.offset] ?? now
    allOnesSince[slice.offset] = first
    return presence != .gone && now - first < Self.resetTime
  }

  /// A slice has kept what was written, and so have all that began in it.
  func endReset(_ slice: Scrubber.FinishedSlice) {
    guard isPartlyAllOnes else { return }
    allOnesSince = allOnesSince.filter {
      $0.key < slice.offset || $0.key >= slice.offset + slice.size
    }
  }

  /// Whether the memory still lies where it did when it was opened, behind the same file.
  var presence: RangePresence { lender?.presence() ?? .inPlace }

  /// Puts the memory's file back to its length where a holder has made it shorter.
  func restoreLength() throws(SystemError) -> FileLength {
    let length = try lender?.restoreLength() ?? .notApplicable
    // Faults until now may come from the truncation, not from the device.
    if case .truncated = length { moment.holderChanges += 1 }
    return length
  }

  /// Whether any process may reach the memory: the kernel sees one, or cannot tell.
  var isReached: Bool { answer != .free }

  /// Gives the memory back. Nothing is lent, scrubbed or looked after any more.
  func close() {
    memory.end()
    lent?.revoke()
    lent = nil
    // It keeps the range open.
    lender = nil
  }

  /// Its device was removed, or the kernel wants it back.
  func lose() {
    hasGone = true
    lendings.endAll()
  }

  /// Nothing is leased of it any more; it is detached for `audit` once no process reaches it.
  func drain(_ audit: Logger.Metadata) { drainAudit = audit }

  /// Takes ``drain(_:)`` back. Returns false when there is nothing to take back.
  func keep() -> Bool {
    defer { drainAudit = nil }
    return drainAudit != nil
  }

  /// An admin drains it, or undoes that. Returns false when that changes nothing.
  func setDrained(_ isDrained: Bool) -> Bool {
    guard isDrained != (adminDrain != .none) else { return false }
    adminDrain = isDrained ? .underWay : .none
    return true
  }

  /// Nothing reaches the memory of what an admin drained.
  func completeDrain() { adminDrain = .complete }

  /// Other users may lease from now on, or have other limits. No lease ends by that.
  func setPolicy(_ policy: PoolPolicy) { self.policy = policy }

  /// Its calls are recorded from now on, or not any more; with the failure to do as the
  /// configuration says.
  func record(in recording: Recording?, failure: SystemError? = nil) {
    self.recording = recording
    recordFailure = failure
  }

  // MARK: Leasing

  /// A request ended without memory. Counted once, however often the allocator was asked.
  func countFailure(isFragmented: Bool) {
    if isFragmented { counts.failedFragmented += 1 } else { counts.failedFull += 1 }
  }

  /// Takes clean memory. `size` is whole granules.
  func allocate(_ size: ByteCount, fit: Fit) throws(PhysicalPoolError) -> ByteCount {
    try allocateInPool(size, fit: fit) - start
  }

  /// Memory that was taken becomes a lease of `user`, which is on record from now on where the
  /// kernel cannot be asked. If it cannot be put on record the memory is given back.
  func lease(_ size: ByteCount, at offset: ByteCount, to user: UID) throws(BrokerError) {
    do throws(SystemError) {
      try noteOutstanding(user)
    } catch {
      do throws(PhysicalPoolError) {
        try freeInPool(start + offset, size: size)
      } catch {
        throw .pool(error, label)
      }
      throw .system(error)
    }
    counts.begin(size)
  }

  /// Whether leases have more than seven eighths, for the first time since they had no more than
  /// three quarters.
  func noticePressure() -> Bool {
    guard isRelieved, (usable - leased).rawValue < usable.rawValue / 8 else { return false }
    isRelieved = false
    return true
  }

  /// The generation of the next lease.
  func nextGeneration() -> Generation {
    newestGeneration += 1
    return Generation(rawValue: newestGeneration)
  }

  /// Ends a lease. Its memory belongs to nobody, and is to be scrubbed if the device still answers.
  func endLease(of size: ByteCount) {
    counts.end(size)
    if (usable - leased).rawValue >= usable.rawValue / 4 { isRelieved = true }
  }

  /// Makes all that is free dirty, and says what it was. For memory that the next user shall not
  /// see.
  func takeFree() throws(PhysicalPoolError) -> [(offset: ByteCount, size: ByteCount)] {
    moment.erasures += 1
    lastUser = nil
    var taken: [(offset: ByteCount, size: ByteCount)] = []
    for run in pool.freeRuns() {
      _ = try allocateInPool(run.size, fit: .fixed(offset: run.start - start))
      taken.append((run.start - start, run.size))
    }
    return taken
  }

  // MARK: Scrubbing

  /// A piece of allocated memory is going to be scrubbed by `job`.
  func begin(_ job: Scrubber.JobID, size: ByteCount, lease: LeaseID?) {
    scrubs[job] = Scrub(remaining: size, lease: lease)
    scrubbing += size
  }

  /// A slice is clean: it is free from now on. Returns the lease that it completes.
  func settle(_ slice: Scrubber.FinishedSlice) throws(PhysicalPoolError) -> LeaseID? {
    try freeInPool(start + slice.offset, size: slice.size)
    scrubbing -= slice.size
    guard var scrub = scrubs[slice.job] else { return nil }
    scrub.remaining -= slice.size
    scrubs[slice.job] = scrub.remaining > .zero ? scrub : nil
    return scrub.remaining > .zero ? nil : scrub.lease
  }

  /// A slice does not stay zero, and its writer cannot be stopped: it waits for the holders' end.
  func contest(_ slice: Scrubber.FinishedSlice) {
    scrubbing -= slice.size
    contested.append(slice)
  }

  /// The contested slices, which are to be scrubbed again.
  func takeContested() -> [Scrubber.FinishedSlice] {
    defer { contested = [] }
    scrubbing = dirty
    return contested
  }

  /// The device does not answer, or not as memory: nothing of it is leased or scrubbed any more.
  func revoke(because cause: String) {
    failure = cause
    scrubs = [:]
    scrubbing = .zero
    contested = []
  }
}

extension LeaseTable.Entry {
  /// The lending of its descriptors.
  fileprivate var lending: Lending { Lending(rawValue: UInt64(generation.rawValue)) }
}

extension ByteCount {
  /// The unit of mmap.
  static let page = ByteCount(pageSize)
}

extension BrokerError {
  /// What a pool of ours refused although nothing was wrong with the request.
  static func pool(_ error: PhysicalPoolError, _ label: String) -> Self {
    .deviceError(
      operation: "account for", subject: label, errno: error.errorNumber, cause: error.description)
  }
}
