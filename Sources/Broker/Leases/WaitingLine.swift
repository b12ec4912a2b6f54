import BrokerProtocol

/// The Acquires that wait, first come first, by the pools and the quotas that they wait for; and
/// those of them that have to be decided on anew.
///
/// Those behind one that still waits for the same as before are not looked at: they would hear the
/// same. So a change of a pool costs what comes of it, however long the line is.
struct WaitingLine<Waiting> {
  typealias Pending = Leases<Waiting>.Pending
  /// The place of one that waits: later ones are higher, and none is used twice.
  typealias Place = Int

  /// A thing that an Acquire can wait for.
  private enum Cause: Hashable {
    case pool(RegionID)
    case quota(UID)
    case poolQuota(PoolShare)
    /// Any change at all: all wait for that.
    case anything
  }

  private var pending: [Place: Pending] = [:]
  private var places: [SessionID: Place] = [:]
  private var queues: [Cause: WaitingPlaces] = [:]
  private var lastPlace = 0
  /// The causes that changed, with the place from which on Acquires are looked at.
  private var changed: [Cause: Place] = [:]
  /// Those that are looked at by themselves.
  private var expired: Set<Place> = []

  var isEmpty: Bool { pending.isEmpty }

  /// Whether any waits for memory of a pool. O(1).
  func isAwaited(_ pool: RegionID) -> Bool { queues[.pool(pool)] != nil }

  /// The time that those ahead of a place wait for memory of a pool; nil when there are none. Of
  /// no place: all. O(1) then.
  func term(of pool: RegionID, ahead place: Place?) -> Wait.Term? {
    queues[.pool(pool)]?.term(ahead: place)
  }

  /// The same for an account's quota.
  func term(of account: UID, ahead place: Place?) -> Wait.Term? {
    queues[.quota(account)]?.term(ahead: place)
  }

  /// The same for an account's quota of a pool.
  func term(of share: PoolShare, ahead place: Place?) -> Wait.Term? {
    queues[.poolQuota(share)]?.term(ahead: place)
  }

  // MARK: Coming and going

  /// Adds one at the end.
  mutating func append(_ one: Pending) {
    lastPlace += 1
    pending[lastPlace] = one
    places[one.request.session] = lastPlace
    insert(one, at: lastPlace)
  }

  /// Takes a session's Acquire out. Those behind it will be looked at.
  mutating func remove(_ session: SessionID) -> Pending? {
    places[session].flatMap { remove($0) }
  }

  private mutating func remove(_ place: Place) -> Pending? {
    guard let one = pending.removeValue(forKey: place) else { return nil }
    places[one.request.session] = nil
    expired.remove(place)
    withdraw(one, at: place)
    noteChange(behind: place, one)
    return one
  }

  private func causes(of one: Pending) -> [(Cause, Wait.Term)] {
    one.wait.pools.map { (.pool($0), $1) } + [(.anything, .lasting)]
      + (one.wait.quota.map { [(.quota(one.request.account), $0)] } ?? [])
      + one.wait.poolQuotas.map { (.poolQuota($0), $1) }
  }

  private mutating func insert(_ one: Pending, at place: Place) {
    for (cause, term) in causes(of: one) {
      queues[cause, default: WaitingPlaces()].insert(place, term)
    }
  }

  private mutating func withdraw(_ one: Pending, at place: Place) {
    for (cause, _) in causes(of: one) {
      queues[cause]?.remove(place)
      if queues[cause]?.isEmpty == true { queues[cause] = nil }
    }
  }

  /// Those behind `place` that wait for the same as `one` are looked at.
  private mutating func noteChange(behind place: Place, _ one: Pending) {
    for (cause, _) in causes(of: one) where cause != .anything { note(cause, from: place + 1) }
  }

  // MARK: Changes

  private mutating func note(_ cause: Cause, from place: Place = 0) {
    guard queues[cause] != nil else {
      changed[cause] = nil
      return
    }
    changed[cause] = min(changed[cause] ?? place, place)
  }

  /// Memory of a pool came free, or will not any more.
  mutating func noteChange(of pool: RegionID) { note(.pool(pool)) }

  /// An account has less of what its quota limits.
  mutating func noteChange(of account: UID) { note(.quota(account)) }

  /// An account has less of what its quota of a pool limits.
  mutating func noteChange(of share: PoolShare) { note(.poolQuota(share)) }

  /// Anything may have changed: all are looked at, those for whom nothing else has too.
  mutating func noteChangeOfAll() { note(.anything) }

  /// The patience of a session's Acquire is over.
  mutating func expire(_ session: SessionID) {
    guard let place = places[session] else { return }
    pending[place]?.patience = .expired
    expired.insert(place)
  }

  /// Whether there is one to be looked at.
  var hasChanges: Bool { !changed.isEmpty || !expired.isEmpty }

  /// The first that has to be decided on anew; nil when there is none. O(changes).
  mutating func next() -> (place: Place, one: Pending)? {
    var first = expired.min()
    for (cause, place) in changed {
      guard let next = queues[cause]?.first(from: place) else {
        changed[cause] = nil
        continue
      }
      changed[cause] = next
      first = min(first ?? next, next)
    }
    guard let first, let one = pending[first] else { return nil }
    return (first, one)
  }

  /// The one at `place` waits no longer.
  mutating func settle(_ place: Place) { _ = remove(place) }

  /// The one at `place` was decided on, and waits on.
  mutating func keep(_ place: Place, for wait: Wait) {
    guard var one = pending[place] else { return }
    expired.remove(place)
    // Those behind hear the same if it waits for the same.
    for (cause, from) in changed where from == place {
      changed[cause] = cause == .anything ? place + 1 : nil
    }
    let past = one
    one.wait = wait
    pending[place] = one
    guard !past.wait.isSame(as: wait) else { return }
    withdraw(past, at: place)
    insert(one, at: place)
    noteChange(behind: place, past)
    noteChange(behind: place, one)
  }
}

/// Places of those that wait for one cause, in their order.
private struct WaitingPlaces {
  private var entries: [(place: Int, term: Wait.Term)] = []
  private var lastingCount = 0

  var isEmpty: Bool { entries.isEmpty }

  private func index(of place: Int) -> Int {
    var (start, end) = (0, entries.count)
    while start < end {
      let middle = start + (end - start) / 2
      if entries[middle].place < place { start = middle + 1 } else { end = middle }
    }
    return start
  }

  /// The first place from `place` on.
  func first(from place: Int) -> Int? {
    let index = index(of: place)
    return index < entries.count ? entries[index].place : nil
  }

  func term(ahead place: Int?) -> Wait.Term? {
    guard let place else {
      return lastingCount > 0 ? .lasting : entries.isEmpty ? nil : .brief
    }
    let ahead = entries[..<index(of: place)]
    return ahead.isEmpty ? nil : ahead.contains { $0.term == .lasting } ? .lasting : .brief
  }

  mutating func insert(_ place: Int, _ term: Wait.Term) {
    let index = index(of: place)
    guard index == entries.count || entries[index].place != place else { return }
    entries.insert((place, term), at: index)
    if term == .lasting { lastingCount += 1 }
  }

  mutating func remove(_ place: Int) {
    let index = index(of: place)
    guard index < entries.count, entries[index].place == place else { return }
    if entries.remove(at: index).term == .lasting { lastingCount -= 1 }
  }
}
