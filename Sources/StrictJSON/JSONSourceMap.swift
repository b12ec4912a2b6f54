/// The lines and columns of the keys and values of a JSON text (RFC 8259).
///
/// A decoder names a mistake by its coding path; people look for a line. The map also has what
/// decoders let pass: a key that is given twice, of which one would silently win.
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

    /// The location of a byte of `text`. O(index).
    init(ofByte index: Int, in text: [UInt8]) {
      self = .start
      advance(over: text[..<index])
    }

    /// Moves behind `bytes`, which are whole scalars.
    fileprivate mutating func advance(over bytes: ArraySlice<UInt8>) {
      for byte in bytes {
        if byte == UInt8(ascii: "\n") {
          line += 1
          column = 1
        } else if byte & 0xc0 != 0x80 {
          column += 1
        }
      }
    }

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

  /// The first location of each key, by the path of its value.
  package private(set) var keys: [JSONPath: Location] = [:]
  /// The first location of each value. The whole has the empty path.
  package private(set) var values: [JSONPath: Location] = [:]
  /// Keys that their object has already, in the order of the text.
  package private(set) var repeatedKeys: [(path: JSONPath, location: Location)] = []

  /// Reads a text through.
  /// - Throws: the first location where it is no JSON, and why.
  package init(_ text: [UInt8]) throws(JSONSyntaxError) {
    self.init(of: try JSONTree(text))
  }

  /// The map of a text that was read. Linear in its size, times the depth.
  package init(of tree: JSONTree) {
    var reached = (byte: 0, location: Location.start)
    func location(ofByte byte: Int) -> Location {
      reached.location.advance(over: tree.text[reached.byte..<byte])
      reached.byte = byte
      return reached.location
    }
    let repeated = Set(tree.repeatedKeyNodes)
    for node in tree.nodes.indices where tree.nodes[node].kind != .key {
      let value = JSONValue(tree: tree, index: node)
      let path = value.path
      if case .key = path.last {
        let place = location(ofByte: value.keyStart)
        if repeated.contains(node - 1) {
          repeatedKeys.append((path, place))
        } else if keys[path] == nil {
          keys[path] = place
        }
      }
      let place = location(ofByte: value.start)
      if values[path] == nil { values[path] = place }
    }
  }

  /// The location of `path`: that of its key if `isAboutKey`, else of its value, else of the
  /// innermost value around it, which is the whole at last.
  package func location(of path: JSONPath, isAboutKey: Bool = false) -> Location? {
    if isAboutKey, let location = keys[path] { return location }
    var path = path[...]
    while true {
      if let location = values[Array(path)] { return location }
      guard !path.isEmpty else { return nil }
      path.removeLast()
    }
  }
}
