import BrokerLeases
import BrokerProtocol
import DeviceMemory

/// The descriptors that a region lent and has not back, where the kernel answers for each lease
/// apart.
///
/// A lending begins with its lease. It ends when the lease has ended and the kernel has seen that
/// nothing of the lease's descriptors is left. Invariant: of a lending that is not here nothing can
/// reach the memory.
///
/// A question costs the kernel 30 us, so an ended lease is asked about when it ends, and then from
/// time to time, a limited number at once.
struct Lendings {
  /// A lending that is over unless something reaches its memory yet.
  struct Ended {
    let lending: Lending
    /// The lease; nil when it is void, as those of a device that was removed are.
    let lease: LeaseTable.Entry?
  }

  /// The most descriptors of one lease: each costs at every question about its neighbours.
  static let mostIssues = 4

  private struct Lent {
    let user: UID
    /// The number of descriptors.
    var issues = 0
  }

  private var lent: [Lending: Lent] = [:]
  private var counts: [UID: Int] = [:]
  /// The ended ones that were not asked about yet.
  private var fresh: [Ended] = []
  /// Those that were reached when they were asked about.
  private var reached: [Ended] = []
  /// The one of ``reached`` that is asked about next.
  private var next = 0

  /// Whether nothing of what was lent is left.
  var isEmpty: Bool { lent.isEmpty }

  /// The number of ended leases that are reached, as far as is known.
  var endedCount: Int { fresh.count + reached.count }

  /// Whether ended leases were not asked about yet.
  var hasFresh: Bool { !fresh.isEmpty }

  /// A user other than `user` of whose lendings one is left; nil when there is none. O(users).
  func user(otherThan user: UID) -> UID? { counts.keys.first { $0 != user } }

  /// A user of whose lendings one is left.
  var anyUser: UID? { counts.keys.first }

  /// Descriptors are about to be lent.
  mutating func begin(_ lending: Lending, of user: UID) {
    guard lent.updateValue(Lent(user: user), forKey: lending) == nil else { return }
    counts[user, default: 0] += 1
  }

  /// Counts one more descriptor. Returns false when there were ``mostIssues``.
  mutating func issue(_ lending: Lending) -> Bool {
    guard let issues = lent[lending]?.issues, issues < Self.mostIssues else { return false }
    lent[lending]?.issues += 1
    return true
  }

  /// A lease has ended: ``takeUnreached(limit:onlyFresh:_:)`` will ask about it.
  mutating func end(_ lending: Lending, of lease: LeaseTable.Entry) {
    if lent[lending] != nil { fresh.append(Ended(lending: lending, lease: lease)) }
  }

  /// All leases are void: ``takeUnreached(limit:onlyFresh:_:)`` will ask about those that have not
  /// ended too.
  /// O(lendings).
  mutating func endAll() {
    let known = Set((fresh + reached).map(\.lending))
    fresh += lent.keys.filter { !known.contains($0) }.map { Ended(lending: $0, lease: nil) }
  }

  /// Asks about at most `limit` ended leases, those first that were not asked about, and takes
  /// those of which nothing is left.
  /// - Parameter onlyFresh: asks about no lease again.
  mutating func takeUnreached(
    limit: Int, onlyFresh: Bool = false, _ answer: (Lending) -> WitnessAnswer
  ) -> [Ended] {
    var unreached: [Ended] = []
    var limit = limit
    // Each at most once.
    var left = onlyFresh ? 0 : reached.count
    while limit > 0, let one = fresh.popLast() {
      limit -= 1
      if answer(one.lending) == .free { unreached.append(one) } else { reached.append(one) }
    }
    while limit > 0, left > 0 {
      (limit, left) = (limit - 1, left - 1)
      if next >= reached.count { next = 0 }
      if answer(reached[next].lending) == .free {
        reached.swapAt(next, reached.count - 1)
        unreached.append(reached.removeLast())
      } else {
        next += 1
      }
    }
    for one in unreached { remove(one.lending) }
    return unreached
  }

  private mutating func remove(_ lending: Lending) {
    guard let user = lent.removeValue(forKey: lending)?.user, let count = counts[user] else {
      return
    }
    counts[user] = count > 1 ? count - 1 : nil
  }
}
