import BrokerLeases
import BrokerProtocol

/// Shares the loop's time between users, however many connections each of them has.
///
/// A user's connection is served when it is ready, until the user has had its share of the present
/// round; what it wants beyond that waits in the user's line. The lines are served in turn, a
/// connection's turn at a time, so that a user costs the others at most as much as each of them may
/// have, and one call's time.
///
/// Knows sessions by their identity: one that has ended meanwhile is passed by.
final class Turns {
  /// The time of a round that a user's ready connections are served at once.
  private static let share = Duration.microseconds(500)
  /// The time for which the lines are served before ready descriptors are looked at again.
  private static let roundTime = Duration.milliseconds(1)

  private let loop: EventLoop
  private let serve: (SessionID) -> Void
  private var lines: [UID: Queue<SessionID>] = [:]
  /// The users that have a line, the next one first.
  private var order = Queue<UID>()
  private var isScheduled = false
  /// The time that each user has had in ``round``.
  private var spent: [UID: Duration] = [:]
  private var round = 0

  /// Calls `serve` with each session whose turn has come.
  init(on loop: EventLoop, serve: @escaping (SessionID) -> Void) {
    self.loop = loop
    self.serve = serve
  }

  /// Whether a user's connection is served at once.
  func mayBeServed(_ user: UID) -> Bool {
    if round != loop.round {
      round = loop.round
      spent.removeAll(keepingCapacity: true)
    }
    return lines[user] == nil && spent[user, default: .zero] < Self.share
  }

  /// Serves a user's connection by `body`, on the user's account.
  func charge(_ user: UID, _ body: () -> Void) {
    let start = ContinuousClock.now
    body()
    spent[user, default: .zero] += ContinuousClock.now - start
  }

  /// Adds a session at the end of its user's line. It must not be in it.
  func append(_ session: SessionID, of user: UID) {
    if lines[user] == nil { order.append(user) }
    lines[user, default: Queue()].append(session)
    guard !isScheduled else { return }
    isScheduled = true
    loop.afterThis { [weak self] in self?.serveRound() }
  }

  private func serveRound() {
    isScheduled = false
    let end = ContinuousClock.now + Self.roundTime
    repeat {
      guard let user = order.popFirst() else { return }
      let session = lines[user]?.popFirst()
      if lines[user]?.isEmpty == true { lines[user] = nil } else { order.append(user) }
      if let session { charge(user) { serve(session) } }
    } while .now < end
    guard !order.isEmpty, !isScheduled else { return }
    isScheduled = true
    loop.afterThis { [weak self] in self?.serveRound() }
  }
}
