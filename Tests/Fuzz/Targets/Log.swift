import Logging
import Synchronization

@testable import genpoold

extension FuzzTarget {
  /// What others choose of a line for the journal: an event, then a value for each line of the input.
  ///
  /// It stays one line of printable ASCII whose first word is its priority and whose values are read
  /// back as they were, so that none is taken for another, or for another line's.
  static let log = FuzzTarget(name: "log") { bytes in
    let values = bytes.split(separator: 0, omittingEmptySubsequences: false).prefix(4).map {
      String(decoding: $0, as: UTF8.self)
    }
    let written = Mutex<[String]>([])
    let handler = EventLogHandler(form: .journal, threshold: LogThreshold(.info)) { line in
      written.withLock { $0.append(line) }
    }
    let logger = Logger(label: "fuzz") { _ in handler }
    var metadata: Logger.Metadata = [:]
    for (index, value) in values.enumerated() { metadata["key\(index)"] = "\(value)" }
    logger.notice("event", metadata: metadata)
    let lines = written.withLock { $0 }
    precondition(lines.count == 1 && lines[0].utf8.last == 10, "an event is a line")
    let line = lines[0].utf8.dropLast()
    precondition(line.allSatisfy { 0x20...0x7e ~= $0 }, "a line has no other characters")
    precondition(line.starts(with: "<5>event key0=".utf8), "it says what happened first")
    precondition(words(of: line) == values.map(shortened), "values are read back as they were")
  }

  /// What the log keeps of a value.
  private static func shortened(_ value: String) -> String {
    let limit = 1000
    guard value.unicodeScalars.count > limit else { return value }
    var kept = String.UnicodeScalarView()
    kept.append(contentsOf: value.unicodeScalars.prefix(limit))
    return String(kept) + "..."
  }

  /// The values of a line, read by its own rules alone: ` KEY=WORD` or ` KEY="…"` with escapes.
  private static func words(of line: some Sequence<UInt8>) -> [String] {
    var rest = Array(line)[...]
    var words: [String] = []
    rest = rest.dropFirst("<5>event".utf8.count)
    while !rest.isEmpty {
      let key = Array(" key\(words.count)=".utf8)
      precondition(rest.starts(with: key), "a key follows a value")
      rest = rest.dropFirst(key.count)
      guard rest.first == UInt8(ascii: "\"") else {
        let word = rest.prefix { $0 != UInt8(ascii: " ") }
        words.append(String(decoding: word, as: UTF8.self))
        rest = rest.dropFirst(word.count)
        continue
      }
      rest = rest.dropFirst()
      words.append(quoted(&rest))
    }
    return words
  }

  /// The value up to its closing quote, which is taken too.
  private static func quoted(_ rest: inout ArraySlice<UInt8>) -> String {
    var value = String.UnicodeScalarView()
    while let byte = rest.popFirst(), byte != UInt8(ascii: "\"") {
      guard byte == UInt8(ascii: "\\") else {
        value.append(Unicode.Scalar(byte))
        continue
      }
      switch rest.popFirst() {
      case UInt8(ascii: "n"): value.append("\n")
      case UInt8(ascii: "u"):
        let digits = rest.dropFirst().prefix { $0 != UInt8(ascii: "}") }
        let number = UInt32(String(decoding: digits, as: UTF8.self), radix: 16)
        guard let scalar = number.flatMap(Unicode.Scalar.init) else {
          preconditionFailure("an escape is a character")
        }
        value.append(scalar)
        rest = rest.dropFirst(digits.count + 2)
      case let byte?: value.append(Unicode.Scalar(byte))
      case nil: preconditionFailure("a quote is closed")
      }
    }
    return String(value)
  }
}
