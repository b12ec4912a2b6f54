import FoundationEssentials

/// Goes through a JSON text (RFC 8259) and notes where everything stands. The values themselves are
/// the decoder's.
struct JSONScanner {
  private let text: [UInt8]
  private var index = 0
  private var place = JSONPlaces.Place.start

  /// Nobody's configuration is nested deeper; a stack is.
  private static let depthLimit = 32

  init(_ text: [UInt8]) {
    self.text = text
  }

  mutating func scanDocument(
    into places: inout JSONPlaces
  ) throws(ConfigurationProblem) {
    skipSpace()
    try scanValue([], into: &places)
    skipSpace()
    if index < text.count { throw problem("\(next) follows the end of the configuration") }
  }

  private mutating func scanValue(
    _ path: [JSONPlaces.Step], into places: inout JSONPlaces
  ) throws(ConfigurationProblem) {
    places.enterValue(path, at: place)
    switch current {
    case UInt8(ascii: "{"): try scanObject(path, into: &places)
    case UInt8(ascii: "["): try scanArray(path, into: &places)
    case UInt8(ascii: "\""): _ = try scanString()
    case let byte? where "-0123456789".utf8.contains(byte): try scanNumber()
    case let byte? where (UInt8(ascii: "A")...UInt8(ascii: "z")).contains(byte): try scanWord()
    default: throw problem("a value is missing: \(next) is none")
    }
  }

  private mutating func scanObject(
    _ path: [JSONPlaces.Step], into places: inout JSONPlaces
  ) throws(ConfigurationProblem) {
    try scanList(closing: "}", path) { (scanner, _) throws(ConfigurationProblem) in
      guard scanner.current == UInt8(ascii: "\"") else {
        throw scanner.problem("a key in quotes is missing: \(scanner.next) is none")
      }
      let start = scanner.place
      let inside = path + [.key(try scanner.scanString())]
      places.enterKey(inside, at: start)
      scanner.skipSpace()
      guard scanner.current == UInt8(ascii: ":") else {
        throw scanner.problem("a colon is missing before \(scanner.next)")
      }
      scanner.advance()
      scanner.skipSpace()
      try scanner.scanValue(inside, into: &places)
    }
  }

  private mutating func scanArray(
    _ path: [JSONPlaces.Step], into places: inout JSONPlaces
  ) throws(ConfigurationProblem) {
    try scanList(closing: "]", path) { (scanner, count) throws(ConfigurationProblem) in
      try scanner.scanValue(path + [.index(count)], into: &places)
    }
  }

  /// What objects and arrays have in common: a bracket, elements between commas, a bracket.
  private mutating func scanList(
    closing: Unicode.Scalar, _ path: [JSONPlaces.Step],
    _ scanElement: (inout Self, Int) throws(ConfigurationProblem) -> Void
  ) throws(ConfigurationProblem) {
    guard path.count < Self.depthLimit else { throw problem("nested too deeply") }
    let opened = place
    advance()
    skipSpace()
    var count = 0
    while current != UInt8(ascii: closing) {
      if count > 0 {
        guard current == UInt8(ascii: ",") else {
          throw problem(
            "a comma or \(closing) is missing before \(next) (opened at \(opened))")
        }
        let comma = place
        advance()
        skipSpace()
        guard current != UInt8(ascii: closing) else {
          throw ConfigurationProblem(
            place: comma, key: "", cause: "a comma before \(closing): nothing follows it")
        }
      }
      try scanElement(&self, count)
      skipSpace()
      count += 1
    }
    advance()
  }

  /// The string that stands here, without quotes and escapes.
  private mutating func scanString() throws(ConfigurationProblem) -> String {
    let opened = place
    let start = index
    advance()
    while let byte = current, byte != UInt8(ascii: "\"") {
      guard byte >= 0x20 else {
        throw ConfigurationProblem(
          place: opened, key: "", cause: "a string that does not end in its line")
      }
      if byte == UInt8(ascii: "\\") { advance() }
      advance()
    }
    guard current != nil else {
      throw ConfigurationProblem(place: opened, key: "", cause: "a string that does not end")
    }
    advance()
    let literal = text[start..<index]
    // Escapes are the decoder's, so that both see the same key.
    guard let string = try? JSONDecoder().decode(String.self, from: Data(literal)) else {
      throw ConfigurationProblem(
        place: opened, key: "", cause: "a string with an escape that does not exist")
    }
    return string
  }

  private mutating func scanNumber() throws(ConfigurationProblem) {
    let start = place
    let number = scanToken()
    guard (try? JSONDecoder().decode(Double.self, from: Data(number.utf8))) != nil else {
      throw ConfigurationProblem(
        place: start, key: "",
        cause: "\(quotedForLog(number)) is no number; sizes like 64M stand in quotes")
    }
  }

  private mutating func scanWord() throws(ConfigurationProblem) {
    let start = place
    let word = scanToken()
    guard ["true", "false", "null"].contains(word) else {
      throw ConfigurationProblem(
        place: start, key: "", cause: "\(quotedForLog(word)) is no value; text stands in quotes")
    }
  }

  /// All up to a space or punctuation.
  private mutating func scanToken() -> String {
    let start = index
    while let byte = current, byte > 0x20, !",:[]{}\"".utf8.contains(byte) { advance() }
    return String(decoding: text[start..<index], as: UTF8.self)
  }

  private mutating func skipSpace() {
    while let byte = current, [0x20, 0x09, 0x0a, 0x0d].contains(byte) { advance() }
  }

  private mutating func advance() {
    guard let byte = current else { return }
    index += 1
    if byte == UInt8(ascii: "\n") {
      place = JSONPlaces.Place(line: place.line + 1, column: 1)
    } else if let following = current, following & 0xc0 == 0x80 {
      // Inside of a character.
    } else {
      place.column += 1
    }
  }

  private var current: UInt8? { index < text.count ? text[index] : nil }

  /// What stands here, as errors call it.
  private var next: String {
    guard index < text.count else { return "the end of the file" }
    let character = String(decoding: text[index...].prefix(4), as: UTF8.self).prefix(1)
    if character == "/" || character == "#" { return "\(character) (JSON has no comments)" }
    return quotedForLog(String(character))
  }

  private func problem(_ cause: String) -> ConfigurationProblem {
    ConfigurationProblem(place: place, key: "", cause: cause)
  }
}
