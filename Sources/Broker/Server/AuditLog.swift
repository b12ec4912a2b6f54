import BrokerProtocol
import Logging

/// Writes who got memory and who gave it back: a line for each lease and each end of one, up to a
/// number for each user in a period; then how many more of each there were.
///
/// So one client cannot fill the log with leases that it takes and gives back, and none happens
/// without a trace.
final class AuditLog {
  /// The lines that one user may bring about in ``period``.
  static let lines = 500

  /// The time for which a user's lines are counted.
  var period: Duration
  private let logger: Logger
  private let loop: EventLoop

  private struct Written {
    var lines = 0
    /// The number of those that were not written, by event.
    var folded: [String: Int] = [:]
  }

  private var users: [UID: Written] = [:]

  init(_ logger: Logger, on loop: EventLoop, period: Duration) {
    self.logger = logger
    self.loop = loop
    self.period = period
  }

  /// Logs `event` of a lease of `user`, or counts it.
  func log(_ event: String, of user: UID, _ metadata: @autoclosure () -> Logger.Metadata) {
    let lines = users[user]?.lines ?? 0
    users[user, default: Written()].lines += 1
    if lines == 0 { loop.after(period) { [weak self] in self?.endPeriod(of: user) } }
    guard lines < Self.lines else {
      users[user]?.folded[event, default: 0] += 1
      return
    }
    logger.notice("\(event)", metadata: metadata())
  }

  /// Logs what is folded so far, at the end of the broker.
  func finish() {
    for user in users.keys.sorted(by: { $0.rawValue < $1.rawValue }) { endPeriod(of: user) }
  }

  private func endPeriod(of user: UID) {
    guard let folded = users.removeValue(forKey: user)?.folded, !folded.isEmpty else { return }
    var metadata: Logger.Metadata = ["uid": "\(user)"]
    for (event, count) in folded { metadata[event] = "\(count)" }
    logger.notice("folded", metadata: metadata)
  }
}
