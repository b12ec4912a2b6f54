import Foundation
import Logging
import Synchronization

/// The lines that a broker logs: `level event key=value …`. GENPOOL_TEST_LOG=LEVEL prints them, too.
final class RecordedLog: Sendable {
  private let recorded = Mutex<[String]>([])
  private let printed = ProcessInfo.processInfo.environment["GENPOOL_TEST_LOG"].flatMap {
    Logger.Level(rawValue: $0)
  }

  /// The lines of one event.
  func lines(_ event: String) -> [String] {
    recorded.withLock { $0.filter { $0.contains(" \(event) ") } }
  }

  private func record(_ event: LogEvent) {
    let words = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { "\($0)=\($1)" }
    let line = "\(event.level) \(event.message) \(words.joined(separator: " "))"
    recorded.withLock { $0.append(line) }
    if let printed, event.level >= printed { print(line) }
  }

  struct Handler: LogHandler {
    let log: RecordedLog
    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]

    init(log: RecordedLog) {
      self.log = log
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { log.record(event) }
  }
}
