package import BrokerProtocol
package import GenPool

/// The leases: one entry each.
///
/// Invariants: a lease has one entry from Acquire until its memory is clean again; no two entries
/// of a region overlap; an identity is never used twice; an entry keeps its slot, so that one that
/// is there from the first page of a list to the last is listed exactly once.
///
/// Indexed by process, user and region: what one of them does costs what is its own.
package struct LeaseTable {
  /// One lease.
  package struct Entry {
    package let id: LeaseID
    package let generation: Generation
    package let region: RegionID
    /// From the region's start.
    package let offset: ByteCount
    /// Whole granules.
    package let size: ByteCount
    package let process: ProcessID
    /// The connection that acquired it, or asked for it again, open or not.
    package fileprivate(set) var session: SessionID
    package let user: UID
    /// The user on whose account it is.
    package let account: UID
    /// The same for the limits of its pool, which may have others for single users.
    package let poolAccount: UID
    package let pid: PID
    /// The request, to recognise a repetition of it.
    package let request: Broker1.Acquire.Parameters
    package let label: String?
    package fileprivate(set) var state: Broker1.LeaseState
    /// Whether its memory did not stay zero, and waits for what writes to it.
    fileprivate(set) var isContested = false

    /// Whether a process still has it.
    package var isHeld: Bool { state == .leased || state == .orphaned || state == .revoked }
  }

  /// The place of an entry, from 0 on.
  private typealias Slot = Int

  /// The most entries.
  var capacity: Int

  private var slots: [Entry?] = []
  private var freeSlots: [Slot] = []
  private var places: [LeaseID: Slot] = [:]
  /// The entries that a process still has.
  private var held: [ProcessID: Set<Slot>] = [:]
  /// The sums over the entries of each account whose memory is being scrubbed.
  private var scrubbing: [UID: Usage] = [:]
  /// The same for each pool that an account has some of.
  private var shareScrubbing: [PoolShare: Usage] = [:]
  private var regions: [RegionID: Set<Slot>] = [:]
  /// The connections that are open and have leases of this process, with their number.
  private var sessions: [SessionID: Int] = [:]
  /// The sums over the entries of each account that has some.
  private var usages: [UID: Usage] = [:]
  /// The same for each pool that an account has some of.
  private var shares: [PoolShare: Usage] = [:]
  /// The number of leases that a process still has.
  private(set) var heldCount = 0

  init(capacity: Int) {
    self.capacity = capacity
  }

  var count: Int { places.count }

  /// Whether an account gets no more. Root has some beyond the capacity, to put things right.
  func isFull(for account: UID) -> Bool {
    count >= (account == .root ? capacity + capacity / 64 : capacity)
  }

  subscript(id: LeaseID) -> Entry? { places[id].flatMap { self[$0] } }

  private subscript(slot: Slot) -> Entry? {
    guard var entry = slots[slot] else { return nil }
    if entry.state == .leased, sessions[entry.session] == nil { entry.state = .orphaned }
    return entry
  }

  /// The entries of a region that a process still has, in no order. O(n) in its entries.
  func held(in region: RegionID) -> [Entry] {
    (regions[region] ?? []).compactMap { self[$0] }.filter(\.isHeld)
  }

  /// The entries of a region, by offset. O(n log n) in their number.
  func entries(in region: RegionID) -> [Entry] {
    (regions[region] ?? []).compactMap { self[$0] }.sorted { $0.offset < $1.offset }
  }

  /// At most `limit` entries of a user or all, of a region or all, in no order that means anything.
  /// - Parameters:
  ///   - place: where to begin; afterwards where to go on. Zero is the beginning.
  ///   - steps: the most places to look at.
  /// - Returns: the entries, and whether there are no others.
  func page(
    from place: inout Int, limit: Int, steps: Int, of user: UID?, in region: RegionID?
  ) -> (entries: [Entry], isLast: Bool) {
    var entries: [Entry] = []
    let end = steps < slots.count - place ? place + steps : slots.count
    while place < end {
      // Field by field: copying an entry costs more than looking at it.
      if let itsUser = slots[place]?.user, user == nil || itsUser == user,
        region == nil || slots[place]?.region == region, let entry = self[place]
      {
        // The next page begins with it, if there is one.
        guard entries.count < limit else { return (entries, false) }
        entries.append(entry)
      }
      place += 1
    }
    return (entries, place >= slots.count)
  }

  /// At most `limit` of the leases that a process still has. O(limit).
  func held(by process: ProcessID, limit: Int) -> [Entry] {
    (held[process] ?? []).prefix(limit).compactMap { self[$0] }
  }

  /// Whether a process still has a lease. O(1).
  func isHolder(_ process: ProcessID) -> Bool { held[process] != nil }

  /// The sum over the entries of an account, in any state. O(1).
  func usage(of account: UID) -> Usage { usages[account] ?? Usage() }

  /// The same over its entries of a pool. O(1).
  func usage(of share: PoolShare) -> Usage { shares[share] ?? Usage() }

  /// The sum over an account's leases of a pool whose memory comes clean by scrubbing alone. O(1).
  func scrubbing(of share: PoolShare) -> Usage { shareScrubbing[share] ?? Usage() }

  /// The sum over an account's leases whose memory comes clean by scrubbing alone. O(1).
  func scrubbing(of account: UID) -> Usage { scrubbing[account] ?? Usage() }

  mutating func insert(_ entry: Entry) {
    precondition(places[entry.id] == nil, "a lease's identity is never used twice")
    let slot = freeSlots.popLast() ?? slots.count
    if slot == slots.count { slots.append(entry) } else { slots[slot] = entry }
    places[entry.id] = slot
    regions[entry.region, default: []].insert(slot)
    sessions[entry.session, default: 0] += 1
    index(entry, slot)
    usages[entry.account, default: Usage()].add(entry.size)
    shares[PoolShare(of: entry), default: Usage()].add(entry.size)
  }

  private mutating func index(_ entry: Entry, _ slot: Slot) {
    if entry.isHeld {
      held[entry.process, default: []].insert(slot)
      heldCount += 1
    }
    if entry.isBeingScrubbed {
      scrubbing[entry.account, default: Usage()].add(entry.size)
      shareScrubbing[PoolShare(of: entry), default: Usage()].add(entry.size)
    }
  }

  private mutating func unindex(_ entry: Entry, _ slot: Slot) {
    if entry.isHeld {
      held.remove(slot, of: entry.process)
      heldCount -= 1
    }
    if entry.isBeingScrubbed {
      scrubbing.subtract(entry.size, of: entry.account)
      shareScrubbing.subtract(entry.size, of: PoolShare(of: entry))
    }
  }

  mutating func setState(_ state: Broker1.LeaseState, of id: LeaseID) {
    change(id) { $0.state = state }
  }

  /// The memory of an ended lease does not stay zero, or is scrubbed again.
  mutating func setContested(_ isContested: Bool, _ id: LeaseID) {
    change(id) { $0.isContested = isContested }
  }

  private mutating func change(_ id: LeaseID, _ body: (inout Entry) -> Void) {
    guard let slot = places[id], var entry = slots[slot] else { return }
    unindex(entry, slot)
    body(&entry)
    slots[slot] = entry
    index(entry, slot)
  }

  /// A connection ended: the leases that it acquired are orphaned. Returns their number. O(1).
  mutating func orphan(_ session: SessionID) -> Int {
    sessions.removeValue(forKey: session) ?? 0
  }

  /// A lease is another connection's of its process from now on.
  mutating func adopt(_ id: LeaseID, by session: SessionID) {
    guard let slot = places[id], let past = slots[slot]?.session else { return }
    if let count = sessions[past] { sessions[past] = count - 1 }
    sessions[session, default: 0] += 1
    slots[slot]?.session = session
  }

  @discardableResult
  mutating func remove(_ id: LeaseID) -> Entry? {
    guard let slot = places.removeValue(forKey: id), let entry = slots[slot] else { return nil }
    unindex(entry, slot)
    regions.remove(slot, of: entry.region)
    slots[slot] = nil
    freeSlots.append(slot)
    if let count = sessions[entry.session] { sessions[entry.session] = count - 1 }
    usages.subtract(entry.size, of: entry.account)
    shares.subtract(entry.size, of: PoolShare(of: entry))
    return entry
  }
}

extension LeaseTable.Entry {
  fileprivate var isBeingScrubbed: Bool { state == .quarantine && !isContested }
}

extension Dictionary where Value == Usage {
  fileprivate mutating func subtract(_ bytes: ByteCount, of key: Key) {
    guard var usage = self[key] else { return }
    usage.bytes -= bytes
    usage.leases -= 1
    self[key] = usage.leases > 0 ? usage : nil
  }
}

extension Dictionary where Value == Set<Int> {
  /// Takes a place out of one of the sets, and the set with its last.
  fileprivate mutating func remove(_ place: Int, of key: Key) {
    guard let index = index(forKey: key) else { return }
    values[index].remove(place)
    if values[index].isEmpty { remove(at: index) }
  }
}

extension LeaseID {
  /// A new identity: 128 random bits from the kernel.
  package static func random() -> Self { Self(rawValue: randomName()) }
}

/// 128 random bits from the kernel, in hexadecimal.
package func randomName() -> String {
  let number = UInt128.random(in: 0...UInt128.max)
  return GenPool.hexadecimal(UInt64(truncatingIfNeeded: number >> 64), digits: 16)
    + GenPool.hexadecimal(UInt64(truncatingIfNeeded: number), digits: 16)
}
