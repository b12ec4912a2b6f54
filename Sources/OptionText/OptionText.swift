/// The text `HEAD,key=value,key=value…` of a command line's option, taken key by key.
///
/// ```swift
/// var options = try OptionText("0000:01:00.0:2,offset=1M,erase=yes")
/// let offset: ByteCount? = try options.takeSize("offset")
/// let isErased = try options.takeChoice("erase", ["yes": true]) ?? false
/// try options.finish()
/// ```
///
/// Each key is given once and has a value. A key that the program does not take is an error of
/// ``finish()``, which lists the keys that it takes: each is written down once, where it is read.
/// Only ASCII commas and the first `=` of a field separate, whatever combining character follows.
package struct OptionText {
  /// The whole text.
  package let text: String
  /// The part before the first comma, which may be empty.
  package let head: String
  /// The fields that were not taken yet, in the order of the text.
  private var fields: [(key: String, value: String)] = []
  /// The keys that were asked for, in that order.
  private var known: [String] = []

  /// Splits `text`. Its keys and values mean nothing yet.
  /// - Throws: the first field that lacks its key or its value, or repeats a key.
  package init(_ text: String) throws(InvalidOptionText) {
    let parts = text.utf8.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
      .map { String(Substring($0)) }
    self.text = text
    head = parts[0]
    for part in parts.dropFirst() {
      let sides = part.utf8.split(
        separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false
      ).map { String(Substring($0)) }
      let key = sides[0]
      guard !part.isEmpty else { throw problem("an empty option lacks its value: key=…") }
      guard !key.isEmpty else { throw problem("\(shown(part)) lacks its key: key\(shown(part))") }
      guard sides.count == 2, !sides[1].isEmpty else {
        throw problem("\(shown(key)) lacks its value: \(shown(key))=…")
      }
      guard !fields.contains(where: { $0.key == key }) else {
        throw problem("\(shown(key)) is given twice")
      }
      fields.append((key, sides[1]))
    }
  }

  /// Takes the value of `key` as it is. Nil when it was not given.
  package mutating func takeText(_ key: String) -> String? {
    if !known.contains(key) { known.append(key) }
    return fields.firstIndex { $0.key == key }.map { fields.remove(at: $0).value }
  }

  /// Takes the value of `key` as `parse` reads it. Nil when it was not given.
  /// - Throws: `key=value problem` when `parse` returns nil.
  package mutating func take<Value>(
    _ key: String, else problem: @autoclosure () -> String, _ parse: (String) -> Value?
  ) throws(InvalidOptionText) -> Value? {
    guard let given = takeText(key) else { return nil }
    guard let value = parse(given) else {
      throw self.problem("\(key)=\(shown(given)) \(problem())")
    }
    return value
  }

  /// Takes the value of `key`, a number of bytes: `65536`, `0x10000`, `64K`. `Size` is `ByteCount`,
  /// which this module does not import: all others may use it then.
  package mutating func takeSize<Size: LosslessStringConvertible>(
    _ key: String, as type: Size.Type = Size.self
  ) throws(InvalidOptionText) -> Size? {
    try take(key, else: "is no size; write 65536, 0x10000 or 64K") { Size($0) }
  }

  /// Takes the value of `key`, a decimal number within the range of `Number`.
  package mutating func takeNumber<Number: FixedWidthInteger>(
    _ key: String, as type: Number.Type = Number.self
  ) throws(InvalidOptionText) -> Number? {
    try take(key, else: "is not a number from \(Number.min) to \(Number.max)") { Number($0) }
  }

  /// Takes the value of `key`, which is one of `choices`.
  package mutating func takeChoice<Choice>(
    _ key: String, _ choices: KeyValuePairs<String, Choice>
  ) throws(InvalidOptionText) -> Choice? {
    try take(key, else: "is not " + choices.map(\.key).joined(separator: " or ")) { given in
      choices.first { $0.key == given }?.value
    }
  }

  /// Checks that all fields were taken.
  /// - Throws: the first key that was not, with those that were asked for.
  package func finish() throws(InvalidOptionText) {
    guard let key = fields.first?.key else { return }
    guard let last = known.last else { throw problem("no option \(shown(key)); there are none") }
    let others = known.dropLast().joined(separator: ", ")
    throw problem(
      "no option \(shown(key)); there \(others.isEmpty ? "is" : "are \(others) and") \(last)")
  }

  /// The error that `problem` is with this text.
  package func problem(_ problem: String) -> InvalidOptionText {
    InvalidOptionText(text: text, problem: problem)
  }
}

/// An option's text that cannot be read.
package struct InvalidOptionText: Error, Equatable, CustomStringConvertible {
  /// The whole text.
  package let text: String
  /// The key, and the reason. Safe to print on a terminal.
  package let problem: String

  package init(text: String, problem: String) {
    self.text = text
    self.problem = problem
  }

  package var description: String { "\(text): \(problem)" }
}

/// `text` without control characters, which steer terminals, and not too long.
private func shown(_ text: String) -> String {
  let scalars = text.unicodeScalars.prefix(60).map { scalar in
    scalar.properties.generalCategory == .control ? "\u{fffd}" : String(scalar)
  }
  return scalars.joined() + (text.unicodeScalars.count > 60 ? "…" : "")
}
