import FoundationEssentials

/// Goes through a JSON text (RFC 8259) and enters the location of each key and value in a map.
///
/// Checks what the decoder reports without a location: punctuation, and the forms of strings,
/// numbers and words. Escapes and numbers are read by the decoder itself: both accept the same.
struct JSONScanner {
  private let text: [UInt8]
  private var index = 0
  private var location = JSONSourceMap.Location.start

  init(_ text: [UInt8]) {
    self.text = text
  }

  mutating func scanDocument(into map: inout JSONSourceMap) throws(JSONSyntaxError) {
    guard String(validating: text, as: UTF8.self) != nil else { throw problem("it is not UTF-8") }
    guard !text.starts(with: [0xef, 0xbb, 0xbf]) else {
      throw problem("it begins with a byte order mark; save it without")
    }
    skipSpace()
    try scanValue([], into: &map)
    skipSpace()
    if index < text.count { throw problem("\(next) follows the end of the document") }
  }

  private mutating func scanValue(
    _ path: [JSONSourceMap.Step], into map: inout JSONSourceMap
  ) throws(JSONSyntaxError) {
    map.enterValue(path, at: location)
    switch current {
    case UInt8(ascii: "{"): try scanObject(path, into: &map)
    case UInt8(ascii: "["): try scanArray(path, into: &map)
    case UInt8(ascii: "\""): _ = try scanString()
    case let byte? where "-0123456789".utf8.contains(byte): try scanNumber()
    case let byte? where (UInt8(ascii: "A")...UInt8(ascii: "z")).contains(byte): try scanWord()
    default: throw problem("a value is missing: \(next) is none")
    }
  }

  private mutating func scanObject(
    _ path: [JSONSourceMap.Step], into map: inout JSONSourceMap
  ) throws(JSONSyntaxError) {
    try scanList(closing: "}", path) { (scanner, _) throws(JSONSyntaxError) in
      guard scanner.current == UInt8(ascii: "\"") else {
        throw scanner.problem("a key in quotes is missing: \(scanner.next) is none")
      }
      let start = scanner.location
      let inside = path + [.key(try scanner.scanString())]
      map.enterKey(inside, at: start)
      scanner.skipSpace()
      guard scanner.current == UInt8(ascii: ":") else {
        throw scanner.problem("a colon is missing before \(scanner.next)")
      }
      scanner.advance()
      scanner.skipSpace()
      try scanner.scanValue(inside, into: &map)
    }
  }

  private mutating func scanArray(
    _ path: [JSONSourceMap.Step], into map: inout JSONSourceMap
  ) throws(JSONSyntaxError) {
    try scanList(closing: "]", path) { (scanner, count) throws(JSONSyntaxError) in
      try scanner.scanValue(path + [.index(count)], into: &map)
    }
  }

  /// Scans the form that objects and arrays share: a bracket, elements between commas, a bracket.
  private mutating func scanList(
    closing: Unicode.Scalar, _ path: [JSONSourceMap.Step],
    _ scanElement: (inout Self, Int) throws(JSONSyntaxError) -> Void
  ) throws(JSONSyntaxError) {
    guard path.count < JSONSourceMap.depthLimit else { throw problem("nested too deeply") }
    let opened = location
    advance()
    skipSpace()
    var count = 0
    while current != UInt8(ascii: closing) {
      if count > 0 {
        guard current == UInt8(ascii: ",") else {
          throw problem(
            "a comma or \(closing) is missing before \(next) (opened at \(opened))")
        }
        let comma = location
        advance()
        skipSpace()
        guard current != UInt8(ascii: closing) else {
          throw JSONSyntaxError(at: comma, "a comma before \(closing): nothing follows it")
        }
      }
      try scanElement(&self, count)
      skipSpace()
      count += 1
    }
    advance()
  }

  /// The string that stands here, without quotes and escapes.
  private mutating func scanString() throws(JSONSyntaxError) -> String {
    let opened = location
    let start = index
    advance()
    while let byte = current, byte != UInt8(ascii: "\"") {
      guard byte >= 0x20 else {
        throw JSONSyntaxError(at: opened, "a string that does not end in its line")
      }
      if byte == UInt8(ascii: "\\") { advance() }
      advance()
    }
    guard current != nil else {
      throw JSONSyntaxError(at: opened, "a string that does not end")
    }
    advance()
    let literal = text[start..<index]
    // Escapes are the decoder's, so that both see the same key.
    guard let string = try? JSONDecoder().decode(String.self, from: Data(literal)) else {
      throw JSONSyntaxError(at: opened, "a string with an escape that does not exist")
    }
    return string
  }

  private mutating func scanNumber() throws(JSONSyntaxError) {
    let start = location
    let number = scanToken()
    guard (try? JSONDecoder().decode(Double.self, from: Data(number.utf8))) != nil else {
      throw JSONSyntaxError(
        at: start, "\(quoted(number)) is no number; sizes like 64M stand in quotes")
    }
  }

  private mutating func scanWord() throws(JSONSyntaxError) {
    let start = location
    let word = scanToken()
    guard ["true", "false", "null"].contains(word) else {
      throw JSONSyntaxError(at: start, "\(quoted(word)) is no value; text stands in quotes")
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
      location = JSONSourceMap.Location(line: location.line + 1, column: 1)
    } else if let following = current, following & 0xc0 == 0x80 {
      // Inside of a character.
    } else {
      location.column += 1
    }
  }

  private var current: UInt8? { index < text.count ? text[index] : nil }

  /// The next character, or the end, as errors call it.
  private var next: String {
    guard index < text.count else { return "the end of the file" }
    let character = String(decoding: text[index...].prefix(4), as: UTF8.self).prefix(1)
    if character == "/" || character == "#" { return "\(character) (JSON has no comments)" }
    return quoted(String(character))
  }

  private func problem(_ cause: String) -> JSONSyntaxError {
    JSONSyntaxError(at: location, cause)
  }
}

/// Foreign text in an error: in quotes, short, and with escapes for all but printable ASCII.
private func quoted(_ text: String) -> String {
  let limit = 1000
  let shown = text.unicodeScalars.prefix(limit).map { scalar in
    scalar == "'" ? "'" : scalar.escaped(asASCII: true)
  }
  return "\"" + shown.joined() + (text.unicodeScalars.count > limit ? "...\"" : "\"")
}
