import Glibc
import Logging
import Synchronization
import Testing

@testable import genpoold

/// The lines of the log.
struct EventLogTests {
  private final class Lines: Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }
    func add(_ line: String) { lines.withLock { $0.append(line) } }
  }

  private func lines(
    _ form: EventLogHandler.Form, _ level: Logger.Level = .trace,
    threshold: LogThreshold? = nil, _ body: (Logger) -> Void
  ) -> [String] {
    let lines = Lines()
    let threshold = threshold ?? LogThreshold(level)
    body(
      Logger(label: "test") { _ in
        EventLogHandler(form: form, threshold: threshold) { lines.add($0) }
      })
    return lines.all
  }

  @Test func `the journal is told priorities`() {
    let found = lines(.journal) { logger in
      for level in Logger.Level.allCases { logger.log(level: level, "event") }
    }
    #expect(
      found.map { String($0.prefix(3)) } == ["<7>", "<7>", "<6>", "<5>", "<4>", "<3>", "<2>"])
    #expect(found.first == "<7>event\n")
  }

  @Test func `anybody else is told time and level`() throws {
    let found = lines(.plain) { $0.notice("lease", metadata: ["uid": "7", "pid": "42"]) }
    let form = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z notice lease pid=42 uid=7\n/
    #expect(try form.wholeMatch(in: #require(found.first)) != nil, "\(found)")
  }

  @Test(arguments: [
    ("plain", "plain"), ("", "\"\""), ("16 MiB", "\"16 MiB\""), ("a=b", "\"a=b\""),
    ("a\"b", #""a\"b""#), ("a\\b", #""a\\b""#), ("x\n<2>forged uid=0", #""x\n<2>forged uid=0""#),
    ("\u{1b}[2J", #""\u{1b}[2J""#), ("é\u{202e}", #""\u{e9}\u{202e}""#), ("\r\0", #""\u{d}\u{0}""#),
  ])
  func `what peers choose cannot forge a line or a word`(value: String, word: String) {
    #expect(lines(.journal) { $0.info("e", metadata: ["k": "\(value)"]) } == ["<6>e k=\(word)\n"])
  }

  @Test func `a long value is cut`() {
    let found = lines(.journal) {
      $0.info("e", metadata: ["k": "\(String(repeating: "a", count: 5000))"])
    }
    #expect(found[0].utf8.count < 1100 && found[0].hasSuffix("...\n"))
  }

  @Test func `a level that changes holds for loggers that exist`() {
    let threshold = LogThreshold(.warning)
    let found = lines(.journal, threshold: threshold) { logger in
      logger.info("before")
      threshold.level = .debug
      logger.debug("after")
    }
    #expect(found == ["<7>after\n"])
  }

  @Test func `the journal is known by its device and inode, not by the variable alone`() {
    var status = stat()
    _ = unsafe fstat(STDERR_FILENO, &status)
    let own = "\(status.st_dev):\(status.st_ino)"
    #expect(EventLogHandler.Form.ofStandardError(["JOURNAL_STREAM": own]) == .journal)
    #expect(EventLogHandler.Form.ofStandardError(["JOURNAL_STREAM": "1:1"]) == .plain)
    #expect(EventLogHandler.Form.ofStandardError(["JOURNAL_STREAM": ""]) == .plain)
    #expect(EventLogHandler.Form.ofStandardError([:]) == .plain)
  }
}
