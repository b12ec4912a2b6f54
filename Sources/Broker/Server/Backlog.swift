import BrokerLeases

/// The line of sessions that have more calls than one: each gets a turn after those that are ready
/// now, so that it keeps no other client waiting.
///
/// Knows sessions by their identity: one that has ended meanwhile is passed by.
final class Backlog {
  /// The time for which all of the line is served before ready descriptors are looked at again.
  /// Some calls take longer by themselves: as long as there are leases or devices.
  private static let roundTime = Duration.milliseconds(1)

  private let loop: EventLoop
  private let serve: (SessionID) -> Void
  private var line: [SessionID] = []

  init(on loop: EventLoop, serve: @escaping (SessionID) -> Void) {
    self.loop = loop
    self.serve = serve
  }

  /// Adds a session at the end. It must not be in the line.
  func append(_ session: SessionID) {
    line.append(session)
    if line.count == 1 { scheduleRound() }
  }

  private func scheduleRound() {
    loop.after(.zero) { [weak self] in self?.serveRound() }
  }

  private func serveRound() {
    let end = ContinuousClock.now + Self.roundTime
    var served = 0
    repeat {
      let session = line[served]
      served += 1
      serve(session)
    } while served < line.count && .now < end
    line.removeFirst(served)
    if !line.isEmpty { scheduleRound() }
  }
}
