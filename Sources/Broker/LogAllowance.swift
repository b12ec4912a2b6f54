import BrokerProtocol
import Logging

/// How much of the log each user may fill with what it does wrong: so many lines in a while, then how
/// many there were. Who does what to memory is always told (attach, lease, release and their like),
/// and does not count.
struct LogAllowance {
  /// The lines that one user may bring about in ``LeaseBroker/Configuration/logPeriod``.
  static let lines = 30

  private var used: [UID: Int] = [:]

  /// What becomes of a line.
  enum Verdict {
    /// It is written, and a period begins with it, to be ended by ``endPeriod(of:)``.
    case first
    case written
    case suppressed
  }

  mutating func take(_ user: UID) -> Verdict {
    let count = used[user, default: 0] + 1
    used[user] = count
    return count == 1 ? .first : count <= Self.lines ? .written : .suppressed
  }

  /// How many lines were suppressed.
  mutating func endPeriod(of user: UID) -> Int {
    max(0, (used.removeValue(forKey: user) ?? 0) - Self.lines)
  }
}

extension LeaseBroker {
  /// Logs what `user` brought about, unless it has filled its part of the log.
  func log(
    _ level: Logger.Level, _ event: Logger.Message, of user: UID,
    _ metadata: @autoclosure () -> Logger.Metadata
  ) {
    guard level >= logger.logLevel else { return }
    switch logAllowance.take(user) {
    case .suppressed: return
    case .written: break
    case .first:
      loop.after(configuration.logPeriod) { [unowned self] in
        let count = logAllowance.endPeriod(of: user)
        guard count > 0 else { return }
        logger.notice("\(count) more lines suppressed", metadata: ["uid": "\(user)"])
      }
    }
    logger.log(level: level, event, metadata: metadata())
  }
}
