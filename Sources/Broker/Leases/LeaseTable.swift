package import BrokerProtocol
package import GenPool

/// The leases: one entry each.
///
/// Invariants: a lease has one entry from Acquire until its memory is clean again; no two entries
/// of a region overlap; an identity is never used twice.
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
    /// The connection that acquired it, open or not.
    package let session: SessionID
    package let user: UID
    package let pid: PID
    /// The request, to recognise a repetition of it.
    package let request: Broker1.Acquire.Parameters
    package fileprivate(set) var state: Broker1.LeaseState

    /// Whether a process still has it.
    package var isHeld: Bool { state == .leased || state == .orphaned || state == .revoked }
  }

  /// The most entries.
  var capacity: Int

  private var entries: [LeaseID: Entry] = [:]
  /// The sums over the entries of each user who has some.
  private var usages: [UID: Usage] = [:]
  /// The number of leases that each process still has.
  private var heldCounts: [ProcessID: Int] = [:]

  init(capacity: Int) {
    self.capacity = capacity
  }

  var isFull: Bool { entries.count >= capacity }

  subscript(id: LeaseID) -> Entry? { entries[id] }

  /// The entries of a region, or all, by region and offset. O(n log n).
  func entries(in region: RegionID? = nil) -> [Entry] {
    entries.values.filter { region == nil || $0.region == region }
      .sorted { ($0.region, $0.offset) < ($1.region, $1.offset) }
  }

  /// The held leases that fulfil a condition. O(n).
  func held(where condition: (Entry) -> Bool) -> [Entry] {
    entries.values.filter { $0.isHeld && condition($0) }
  }

  /// Whether a process still has a lease. O(1).
  func isHolder(_ process: ProcessID) -> Bool { heldCounts[process] != nil }

  /// The sum over the entries of a user, in any state. O(1).
  func usage(of user: UID) -> Usage { usages[user] ?? Usage() }

  /// A user's leases that ended, but are not clean yet. O(n).
  func quarantined(of user: UID) -> [Entry] {
    entries.values.filter { $0.user == user && $0.state == .quarantine }
  }

  mutating func insert(_ entry: Entry) {
    precondition(entries[entry.id] == nil, "a lease's identity is never used twice")
    entries[entry.id] = entry
    if entry.isHeld { countHeld(1, entry.process) }
    usages[entry.user, default: Usage()].bytes += entry.size
    usages[entry.user, default: Usage()].leases += 1
  }

  mutating func setState(_ state: Broker1.LeaseState, of id: LeaseID) {
    guard var entry = entries[id] else { return }
    let wasHeld = entry.isHeld
    entry.state = state
    entries[id] = entry
    if wasHeld != entry.isHeld { countHeld(wasHeld ? -1 : 1, entry.process) }
  }

  private mutating func countHeld(_ change: Int, _ process: ProcessID) {
    let count = heldCounts[process, default: 0] + change
    heldCounts[process] = count > 0 ? count : nil
  }

  @discardableResult
  mutating func remove(_ id: LeaseID) -> Entry? {
    guard let entry = entries.removeValue(forKey: id) else { return nil }
    if entry.isHeld { countHeld(-1, entry.process) }
    if var usage = usages[entry.user] {
      usage.bytes -= entry.size
      usage.leases -= 1
      usages[entry.user] = usage.leases > 0 ? usage : nil
    }
    return entry
  }
}

extension LeaseID {
  /// A new identity: 128 random bits from the kernel.
  package static func random() -> Self { Self(rawValue: randomName()) }
}

/// 128 random bits from the kernel, in hexadecimal.
package func randomName() -> String {
  var generator = SystemRandomNumberGenerator()
  return (0..<2).map { _ in GenPool.hexadecimal(generator.next(), digits: 16) }.joined()
}
