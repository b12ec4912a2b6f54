/// The lines and columns of the keys and values of a JSON text (RFC 8259).
///
/// A decoder names a mistake by its coding path; people look for a line. The map also has what
/// decoders let pass: a key that is given twice, of which one would silently win.
///
/// The values themselves are left to the decoder. A text that has a map is one that Foundation's
/// decoder reads without a trap: it is nested ``depthLimit`` deep at most, and its numbers fit a
/// `Double`.
package struct JSONSourceMap {
  /// A line and a column, both from 1; columns count Unicode scalars.
  package struct Location: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var line: Int
    package var column: Int

    package init(line: Int, column: Int) {
      self.line = line
      self.column = column
    }

    package static let start = Self(line: 1, column: 1)

    package static func < (left: Self, right: Self) -> Bool {
      (left.line, left.column) < (right.line, right.column)
    }

    package var description: String { "\(line):\(column)" }
  }

  /// A step from a value to one inside it.
  package enum Step: Hashable, Sendable {
    case key(String)
    case index(Int)

    package init(_ key: any CodingKey) {
      self = key.intValue.map(Step.index) ?? .key(key.stringValue)
    }
  }

  /// Arrays and objects that may lie in each other.
  package static let depthLimit = 32

  /// The first location of each key, by the path of its value.
  package private(set) var keys: [[Step]: Location] = [:]
  /// The first location of each value. The whole has the empty path.
  package private(set) var values: [[Step]: Location] = [:]
  /// Keys that their object has already, in the order of the text.
  package private(set) var repeatedKeys: [(path: [Step], location: Location)] = []

  /// Reads a text through. Linear in its size, times the depth.
  /// - Throws: the first location where it is no JSON, and why.
  package init(_ text: [UInt8]) throws(JSONSyntaxError) {
    var scanner = JSONScanner(text)
    try scanner.scanDocument(into: &self)
  }

  mutating func enterKey(_ path: [Step], at location: Location) {
    if keys[path] == nil { keys[path] = location } else { repeatedKeys.append((path, location)) }
  }

  mutating func enterValue(_ path: [Step], at location: Location) {
    if values[path] == nil { values[path] = location }
  }

  /// The location of `path`: that of its key if `isAboutKey`, else of its value, else of the
  /// innermost value around it, which is the whole at last.
  package func location(of path: [Step], isAboutKey: Bool = false) -> Location? {
    if isAboutKey, let location = keys[path] { return location }
    var path = path[...]
    while true {
      if let location = values[Array(path)] { return location }
      guard !path.isEmpty else { return nil }
      path.removeLast()
    }
  }
}
