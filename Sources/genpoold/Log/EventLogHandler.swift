import LinuxSystem
import Logging
import Synchronization

/// Writes one line an event: what happened, then `key=value` words in the order of their keys.
/// Whatever peers chose is quoted and escaped, so that no line can be forged.
///
/// For the journal a line starts with `<N>`, its priority: sd-daemon(3). For anybody else it starts
/// with the time and the level.
struct EventLogHandler: LogHandler {
  private let form: Form
  private let threshold: LogThreshold
  private let write: @Sendable (String) -> Void

  var metadata: Logger.Metadata = [:]
  var metadataProvider: Logger.MetadataProvider?

  /// How lines start.
  enum Form: Hashable {
    case journal
    /// With the time in UTC.
    case plain
  }

  /// A handler whose level is `threshold`'s, for all copies of it.
  init(
    form: Form, threshold: LogThreshold, write: @escaping @Sendable (String) -> Void
  ) {
    self.form = form
    self.threshold = threshold
    self.write = write
  }

  var logLevel: Logger.Level {
    get { threshold.level }
    set { threshold.level = newValue }
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let words = metadata.merging(event.metadata ?? [:]) { $1 }
    write(form.line(event.level, event.message.description, words))
  }
}

extension EventLogHandler.Form {
  /// The line of an event, with its end.
  func line(_ level: Logger.Level, _ message: String, _ words: Logger.Metadata) -> String {
    var line = start(level) + oneLine(message)
    for (key, value) in words.sorted(by: { $0.key < $1.key }) {
      line += " \(key)=\(quotedForLog(value.description, always: false))"
    }
    return line + "\n"
  }

  /// A message is one of the program's own words, so spaces stay as they are.
  private func oneLine(_ message: String) -> String {
    message.unicodeScalars.allSatisfy { (" "..."~").contains($0) }
      ? message : quotedForLog(message)
  }

  private func start(_ level: Logger.Level) -> String {
    switch self {
    case .journal: "<\(level.syslogPriority)>"
    case .plain: "\(UTCTime.now.text) \(level) "
    }
  }
}

/// The level of a whole process's log, which a reload may change.
final class LogThreshold: Sendable {
  private let index: Atomic<Int>

  init(_ level: Logger.Level) {
    index = Atomic(Self.index(of: level))
  }

  var level: Logger.Level {
    get { Logger.Level.allCases[index.load(ordering: .relaxed)] }
    set { index.store(Self.index(of: newValue), ordering: .relaxed) }
  }

  private static func index(of level: Logger.Level) -> Int {
    Logger.Level.allCases.firstIndex(of: level) ?? 0
  }
}

extension Logger.Level {
  /// syslog(3)'s number for it.
  var syslogPriority: Int {
    switch self {
    case .trace, .debug: 7
    case .info: 6
    case .notice: 5
    case .warning: 4
    case .error: 3
    case .critical: 2
    }
  }
}
