import BrokerProtocol
import Logging

/// Writes lines that users bring about by what they do wrong: so many of each in a period, then how
/// many there were. Changes of who has memory do not count: ``AuditLog`` has those of leases, and
/// attach and detach are always logged.
final class LogRateLimiter {
  /// The lines that one user may bring about in ``period``.
  static let lines = 30

  /// The time for which a user's lines are counted.
  var period: Duration
  private let logger: Logger
  private let loop: EventLoop
  private var used: [UID: Int] = [:]

  init(_ logger: Logger, on loop: EventLoop, period: Duration) {
    self.logger = logger
    self.loop = loop
    self.period = period
  }

  /// Logs what `user` brought about, unless it has filled its part of the log.
  func log(
    _ level: Logger.Level, _ event: Logger.Message, of user: UID,
    _ metadata: @autoclosure () -> Logger.Metadata
  ) {
    guard level >= logger.logLevel else { return }
    let count = used[user, default: 0] + 1
    used[user] = count
    guard count <= Self.lines else { return }
    if count == 1 { loop.after(period) { [weak self] in self?.endPeriod(of: user) } }
    logger.log(level: level, event, metadata: metadata())
  }

  private func endPeriod(of user: UID) {
    let suppressed = (used.removeValue(forKey: user) ?? 0) - Self.lines
    guard suppressed > 0 else { return }
    logger.notice("\(suppressed) more lines suppressed", metadata: ["uid": "\(user)"])
  }
}
