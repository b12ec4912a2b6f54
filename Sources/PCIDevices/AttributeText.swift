/// The text of a sysfs attribute, and where it was read: what parsers are given. A value without a
/// file, so that any bytes can be put before them.
package struct AttributeText: Hashable, Sendable {
  /// Where it was read, for errors.
  package let place: String
  /// Its lines, without their ends.
  package let lines: [String]

  /// More than the kernel shows in any text attribute: one page.
  package static let limit = 4096

  /// The text in `content`. Longer than ``limit`` is an error: no attribute is.
  package init(_ content: [UInt8], at place: String) throws(DeviceError) {
    guard content.count <= Self.limit else {
      throw .malformed(
        place: place, problem: "it is longer than \(Self.limit) bytes, which no attribute is")
    }
    var lines = content.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    if lines.last?.isEmpty == true { lines.removeLast() }
    self.place = place
    self.lines = lines.map { line in
      // Lossy on purpose: what is not UTF-8 will not parse, and shows in the error.
      String(decoding: line, as: UTF8.self)
    }
  }

  /// The value that `parse` finds in the only line.
  /// - Parameter expected: what the error says should have been there.
  package func value<Value>(
    _ expected: String, _ parse: (String) -> Value?
  ) throws(DeviceError) -> Value {
    guard let line = lines.first, lines.count == 1 else {
      throw malformed("it has \(lines.count) lines, not 1")
    }
    guard let value = parse(line) else { throw malformed("\(quoted(line)) is not \(expected)", 1) }
    return value
  }

  /// The error for content that is not as documented. Lines count from 1.
  package func malformed(_ problem: String, _ line: Int? = nil) -> DeviceError {
    .malformed(place: line.map { "\(place):\($0)" } ?? place, problem: problem)
  }
}

/// Foreign text for an error: in quotes, short, without control characters.
package func quoted(_ text: String) -> String {
  let shown = text.unicodeScalars.prefix(60).map { scalar in
    scalar.properties.generalCategory == .control ? "\u{fffd}" : String(scalar)
  }
  return "\"" + shown.joined() + (text.unicodeScalars.count > 60 ? "…\"" : "\"")
}
