import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem

/// An attached piece of a device's memory, and the pool over it.
///
/// Every granule is in exactly one of three places: clean and free in the pool, in a lease, or dirty.
/// To the pool a dirty granule is an allocated one, so nothing dirty can be leased. Invariant:
/// available + dirty + leased = the whole granules of `size`.
final class AttachedRegion {
  /// Names it in this run of the broker; later ones are higher.
  struct ID: Hashable, Comparable {
    let rawValue: Int

    static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
  }

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
  /// The memory that a descriptor of it reaches.
  let reach: OutstandingMemory.Reach
  private var lender: (any DescriptorLender)?
  /// What leases are sent: without a lender always the same, else from the first holder to the last.
  private var lent: LentDescriptor?

  let memory: RegionMemory
  /// Addresses only: the broker itself never touches memory through its pool.
  let pool: GenPool.Pool
  /// Where the pool's addresses begin: at the physical address, which is what alignments are of, or without
  /// one at the broker's own mapping.
  let start: VirtualAddress

  /// Nobody leases here any more, and it is detached once nobody reaches it.
  var isDraining = false
  /// Why the device's memory is not used any more; nil while it is.
  private(set) var failure: String?
  /// Its device was removed: it is forgotten once nobody holds it.
  var hasGone = false
  /// Its device comes back only when nobody holds it: what is left here is of no consequence then.
  var isAwaitedByKernel: Bool { hasGone && source == .vfio }
  /// The generation of the newest lease.
  private var newestGeneration: Int64 = 0
  /// Its leases, and what was refused for want of memory.
  var counts = LeaseCounts()
  var leaseCount: Int { counts.leases }
  var leased: ByteCount { counts.leased }

  /// The live processes that were given a lease here, each with the users it was as it got them. A
  /// descriptor cannot be taken back, so they stay until they die, or are seen to have let go:
  /// ``forgetIdleHolders()``. What a holder passed on, to a child or by a socket of its own, shows when
  /// all holders are gone: see ``hasStrays``.
  private(set) var holders: [ClientProcess.ID: Set<UID>] = [:]
  /// Whose processes could write here since it was last wholly zeroed.
  private(set) var lastUser: UID?
  /// Whether anything was lent since the kernel last saw that nothing is left of what was.
  private(set) var isOutstanding = false
  /// The users of what was lent before it was attached, where that may still be in reach.
  private(set) var inheritedUsers: Set<UID> = []
  /// The record of what is outstanding, where the kernel cannot be asked at any time.
  var outstanding: (id: OutstandingRecords.ID, record: OutstandingMemory)?
  private(set) var moment = Scrubber.Moment()

  /// A quarter was free since pressure was noticed.
  private var isRelieved = false

  /// Where the calls of its pool are written down, if they are.
  var recording: Recording?
  /// Why they are not, or not where they should be now.
  var recordFailure: SystemError?

  /// Scrubs under way.
  private(set) var scrubs: [Scrubber.JobID: Scrub] = [:]
  /// What is being scrubbed or queued for it.
  private(set) var scrubbing = ByteCount.zero
  /// Slices that did not stay zero while somebody could still write to them.
  private(set) var contested: [Scrubber.FinishedSlice] = []

  /// A piece of dirty memory on its way to be clean.
  struct Scrub {
    var remaining: ByteCount
    /// The lease that it was.
    let lease: LeaseID?
  }

  /// Maps what was opened. All of it is dirty: allocated, and to be scrubbed. `isolation` is given to
  /// promise less than the opened range does; nil promises what it can.
  init(
    id: ID, name: String, granule: GranuleSize, isolation: Isolation? = nil,
    open: consuming OpenBAR
  ) throws(CallFailure) {
    self.id = id
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
      start = physical.map { VirtualAddress($0.rawValue) } ?? region.mapping.start
      memory = RegionMemory(region)
    } catch {
      throw .system(error)
    }
    pool = GenPool.Pool(
      granule: granule, name: self.name, device: DeviceKey(device),
      node: numaNode.map { NUMANode($0) })
    do {
      try pool.add(start: start, size: size, physical: physical, bus: bus)
      _ = try pool.allocate(usable, fit: .fixed(offset: .zero))
    } catch {
      throw .pool(error, label)
    }
  }

  /// The whole granules.
  var usable: ByteCount { size.roundedDown(to: granule.byteCount) }

  /// Clean and free.
  var available: ByteCount { pool.available - (size - usable) }

  /// Not leased and not clean.
  var dirty: ByteCount {
    contested.reduce(scrubbing) { $0 + $1.size }
  }

  /// The one user that may lease here now; nil for all.
  var exclusiveUser: UID? {
    guard isolation == .uidExclusive else { return nil }
    if let user = holders.values.first?.first { return user }
    return isReached ? lastUser : nil
  }

  // MARK: Holders

  /// A process is given a descriptor.
  func addHolder(_ process: ClientProcess.ID, _ user: UID) {
    if holders[process] == nil { moment.holderChanges += 1 }
    holders[process, default: []].insert(user)
    lastUser = user
    isOutstanding = true
  }

  /// Processes of `users` may reach the memory, of what was lent before it was attached, and the kernel
  /// cannot tell.
  func inherit(_ users: Set<UID>) {
    inheritedUsers = users
    lastUser = users.first
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
    isOutstanding = false
    inheritedUsers = []
    moment.holderChanges += 1
  }

  /// Whether it can be seen that its holders have let go. Not while they have leases, unless those are of
  /// no use any more.
  var canForgetHolders: Bool { witness == .fileLease && (leaseCount == 0 || hasGone) }

  /// Forgets the holders once all of them have let go: no descriptor that they were given and no mapping
  /// made of one is left.
  func forgetIdleHolders() {
    guard canForgetHolders, isOutstanding else { return }
    // Ours would count. The next lessee gets another one.
    stopLending()
    if isOutstanding, inheritedUsers.isEmpty, lender?.witness() == .free { removeAllHolders() }
  }

  private func stopLending() {
    // VFIO has one for as long as the region lives: all that wait to be sent must be led to /dev/null at
    // once when the kernel wants the device back.
    if lender != nil, witness != .reopening { lent = nil }
  }

  /// The descriptor that leases are sent.
  func lendDescriptor() throws(CallFailure) -> LentDescriptor {
    if let lent { return lent }
    guard let lender else { throw .broker(.poolRevoked(pool: name, cause: failure ?? "detached")) }
    do throws(SystemError) {
      let fresh = LentDescriptor(try lender.lend())
      lent = fresh
      return fresh
    } catch {
      throw .system(error)
    }
  }

  /// Whether anything that was lent may still reach the memory. Asks the kernel when all holders are gone:
  /// what is left then is a child of one, or was passed on.
  var answer: WitnessAnswer {
    if !holders.isEmpty { return .reached }
    guard isOutstanding || !inheritedUsers.isEmpty else { return .free }
    let answer = lender?.witness() ?? .unknown
    return inheritedUsers.isEmpty ? answer : answer.joined(with: .unknown)
  }

  /// Whether the kernel sees that a process reaches the memory although all holders are gone.
  var hasStrays: Bool { holders.isEmpty && answer == .reached }

  /// Whether a timer looks for the end of ``isReached``.
  var isWatched = false

  /// Whether any process may reach the memory: the kernel sees one, or cannot tell.
  var isReached: Bool { answer != .free }

  /// Gives the memory back. Nothing is lent, scrubbed or looked after any more.
  func close() {
    memory.close()
    lent?.revoke()
    lent = nil
    // It keeps the range open.
    lender = nil
  }

  // MARK: Leasing

  /// Takes clean memory. `size` is whole granules.
  func allocate(_ size: ByteCount, fit: Fit) throws(PoolError) -> ByteCount {
    let offset = try allocateInPool(size, fit: fit) - start
    counts.begin(size)
    return offset
  }

  /// Whether less than an eighth is free, for the first time since a quarter was.
  func noticePressure() -> Bool {
    guard isRelieved, available.rawValue < usable.rawValue / 8 else { return false }
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
  }

  /// Makes all that is free dirty, and says what it was. For memory that the next user shall not see.
  func takeFree() throws(PoolError) -> [(offset: ByteCount, size: ByteCount)] {
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
  func settle(_ slice: Scrubber.FinishedSlice) throws(PoolError) -> LeaseID? {
    try freeInPool(start + slice.offset, size: slice.size)
    scrubbing -= slice.size
    if available.rawValue >= usable.rawValue / 4 { isRelieved = true }
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

extension ByteCount {
  /// The unit of mmap.
  static let page = ByteCount(pageSize)
}

extension CallFailure {
  /// What a pool of ours refused although nothing was wrong with the request.
  static func pool(_ error: PoolError, _ label: String) -> Self {
    .broker(
      .deviceError(
        operation: "account for", subject: label, errno: error.errno, cause: error.description))
  }
}
