/// Reads a JSON text into the nodes of a ``JSONTree``. RFC 8259 and nothing beyond it.
///
/// One pass without recursion: the open arrays and objects are a stack of at most
/// ``JSONTree/depthLimit``. O(n); finding repeated keys of large objects is O(n) on average.
struct JSONReader {
  typealias Node = JSONTree.Node

  private let text: [UInt8]
  private var index = 0
  private(set) var nodes: [Node] = []
  /// Key nodes whose object has the key already, in no order.
  private(set) var repeatedKeys: [Int] = []
  /// The arrays and objects around the place that is read, outermost first.
  private var open: [Int] = []

  init(_ text: [UInt8]) {
    self.text = text
    // A node for about eight bytes of our messages.
    nodes.reserveCapacity(min(text.count / 8 + 2, 1 << 16))
  }

  mutating func readDocument() throws(JSONSyntaxError) {
    guard text.count < Int(Int32.max) else { throw problem("it is longer than 2 GiB") }
    guard !text.starts(with: [0xef, 0xbb, 0xbf]) else {
      throw problem("it begins with a byte order mark; save it without")
    }
    skipSpace()
    try readValue()
    while let container = open.last { try continueList(container) }
    skipSpace()
    if index < text.count { throw problem("\(try next()) follows the end of the document") }
  }

  /// Reads one element of the innermost open list, or its end.
  private mutating func continueList(_ container: Int) throws(JSONSyntaxError) {
    let isObject = nodes[container].kind == .object
    let closing = isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")
    skipSpace()
    if current == closing { return close(container) }
    if nodes[container].count > 0 {
      let sign = Unicode.Scalar(closing)
      guard current == UInt8(ascii: ",") else {
        throw problem(
          "a comma or \(sign) is missing before \(try next()) "
            + "(opened at \(location(of: Int(nodes[container].start))))")
      }
      let comma = index
      index += 1
      skipSpace()
      guard current != closing else {
        throw problem(at: comma, "a comma before \(sign): nothing follows it")
      }
    }
    if isObject { try readKey() }
    try readValue()
  }

  private mutating func close(_ container: Int) {
    index += 1
    nodes[container].end = Int32(index)
    nodes[container].next = Int32(nodes.count)
    open.removeLast()
    if nodes[container].kind == .object, nodes[container].count > 1 {
      findRepeatedKeys(of: container)
    }
  }

  private mutating func readKey() throws(JSONSyntaxError) {
    guard current == UInt8(ascii: "\"") else {
      throw problem("a key in quotes is missing: \(try next()) is none")
    }
    try readString(.key)
    skipSpace()
    guard current == UInt8(ascii: ":") else {
      throw problem("a colon is missing before \(try next())")
    }
    index += 1
    skipSpace()
  }

  /// Reads a value; of an array or an object its opening bracket.
  private mutating func readValue() throws(JSONSyntaxError) {
    // No value begins with 0, which stands for the end.
    switch current ?? 0 {
    case UInt8(ascii: "\""): try readString(.string)
    case UInt8(ascii: "{"): try openList(.object)
    case UInt8(ascii: "["): try openList(.array)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): try readNumber()
    case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"):
      try readWord()
    default: throw problem("a value is missing: \(try next()) is none")
    }
  }

  private mutating func openList(_ kind: JSONTree.Kind) throws(JSONSyntaxError) {
    guard open.count < JSONTree.depthLimit else {
      throw problem("nested too deeply")
    }
    append(kind, from: index)
    open.append(nodes.count - 1)
    index += 1
  }

  /// Appends a node that begins at `start` and ends here. Keys are not counted, and have the number
  /// of their value.
  private mutating func append(_ kind: JSONTree.Kind, from start: Int, hasEscapes: Bool = false) {
    let parent = open.last
    nodes.append(
      Node(
        kind: kind, hasEscapes: hasEscapes, start: Int32(start), end: Int32(index),
        next: Int32(nodes.count + 1), parent: parent.map { Int32($0) } ?? -1,
        position: parent.map { nodes[$0].count } ?? 0, count: 0))
    if let parent, kind != .key { nodes[parent].count += 1 }
  }

  // MARK: Strings

  private mutating func readString(_ kind: JSONTree.Kind) throws(JSONSyntaxError) {
    let start = index
    var hasEscapes = false
    index += 1
    while true {
      guard index < text.count else { throw problem(at: start, "a string that does not end") }
      let byte = text[index]
      switch byte {
      case UInt8(ascii: "\""):
        index += 1
        return append(kind, from: start, hasEscapes: hasEscapes)
      case UInt8(ascii: "\\"):
        hasEscapes = true
        guard let length = text.escapeLength(at: index) else {
          guard index + 1 < text.count else {
            throw problem(at: start, "a string that does not end")
          }
          throw problem(at: start, "a string with an escape that does not exist")
        }
        index += length
      case 0x20..<0x80: index += 1
      case UInt8(ascii: "\n"), UInt8(ascii: "\r"):
        throw problem(at: start, "a string that does not end in its line")
      case ..<0x20:
        throw problem(at: start, "a string with a control character, which takes an escape")
      default:
        guard let length = text.scalarLength(at: index) else { throw problem("it is not UTF-8") }
        index += length
      }
    }
  }

  // MARK: Numbers and words

  private mutating func readNumber() throws(JSONSyntaxError) {
    let start = index
    let token = takeToken()
    guard text.isNumber(token) else {
      throw problem(at: start, "\(quoted(token)) is no number; sizes like 64M stand in quotes")
    }
    append(.number, from: start)
  }

  private mutating func readWord() throws(JSONSyntaxError) {
    let start = index
    let token = takeToken()
    if text[token].elementsEqual("true".utf8) {
      append(.true, from: start)
    } else if text[token].elementsEqual("false".utf8) {
      append(.false, from: start)
    } else if text[token].elementsEqual("null".utf8) {
      append(.null, from: start)
    } else {
      throw problem(at: start, "\(quoted(token)) is no value; text stands in quotes")
    }
  }

  /// All up to a space or punctuation.
  private mutating func takeToken() -> Range<Int> {
    let start = index
    while index < text.count {
      switch text[index] {
      case ...0x20, UInt8(ascii: ","), UInt8(ascii: ":"), UInt8(ascii: "["), UInt8(ascii: "]"),
        UInt8(ascii: "{"), UInt8(ascii: "}"), UInt8(ascii: "\""):
        return start..<index
      default: index += 1
      }
    }
    return start..<index
  }

  // MARK: Repeated keys

  /// An object of more keys than this is searched for repeated ones by hashes.
  private static let comparedPairwise: Int32 = 16

  private mutating func findRepeatedKeys(of object: Int) {
    var keys: [Int] = []
    keys.reserveCapacity(Int(nodes[object].count))
    var key = object + 1
    while key < nodes[object].next {
      keys.append(key)
      key = Int(nodes[key + 1].next)
    }
    if nodes[object].count > Self.comparedPairwise {
      var known: Set<[UInt8]> = []
      for key in keys where !known.insert(nodes[key].contents(in: text)).inserted {
        repeatedKeys.append(key)
      }
      return
    }
    for (count, key) in keys.enumerated() {
      for earlier in keys[..<count] where isSameKey(key, earlier) {
        repeatedKeys.append(key)
        break
      }
    }
  }

  private func isSameKey(_ left: Int, _ right: Int) -> Bool {
    let (left, right) = (nodes[left], nodes[right])
    guard left.hasEscapes || right.hasEscapes else {
      return left.length == right.length && text[left.inside].elementsEqual(text[right.inside])
    }
    return left.contents(in: text) == right.contents(in: text)
  }

  // MARK: Places

  private mutating func skipSpace() {
    while index < text.count {
      switch text[index] {
      case 0x20, 0x09, 0x0a, 0x0d: index += 1
      default: return
      }
    }
  }

  private var current: UInt8? { index < text.count ? text[index] : nil }

  /// The next character, or the end, as errors call it.
  private func next() throws(JSONSyntaxError) -> String {
    guard index < text.count else { return "the end of the file" }
    guard text.scalarLength(at: index) != nil else { throw problem("it is not UTF-8") }
    let character = String(decoding: text[index...].prefix(4), as: UTF8.self).prefix(1)
    if character == "/" || character == "#" { return "\(character) (JSON has no comments)" }
    return quotedInError(String(character))
  }

  private func quoted(_ token: Range<Int>) -> String {
    quotedInError(String(decoding: text[token], as: UTF8.self))
  }

  private func location(of index: Int) -> JSONSourceMap.Location {
    JSONSourceMap.Location(ofByte: index, in: text)
  }

  private func problem(_ cause: String) -> JSONSyntaxError { problem(at: index, cause) }

  private func problem(at index: Int, _ cause: String) -> JSONSyntaxError {
    JSONSyntaxError(at: location(of: index), cause)
  }
}

/// Foreign text in an error: in quotes, short, and with escapes for all but printable ASCII.
package func quotedInError(_ text: String) -> String {
  let limit = 1000
  let shown = text.unicodeScalars.prefix(limit).map { scalar in
    scalar == "'" ? "'" : scalar.escaped(asASCII: true)
  }
  return "\"" + shown.joined() + (text.unicodeScalars.count > limit ? "...\"" : "\"")
}
