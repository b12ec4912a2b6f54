import FoundationEssentials

/// Where in a JSON text its keys and values stand.
///
/// A decoder names a mistake by its coding path; people look for a line. It also finds what decoders
/// let pass: a key that is given twice, of which one would silently win.
struct JSONPlaces {
  /// A line and a column, both from 1; columns count Unicode scalars.
  struct Place: Hashable, Comparable, CustomStringConvertible {
    var line: Int
    var column: Int

    static let start = Self(line: 1, column: 1)

    static func < (left: Self, right: Self) -> Bool {
      (left.line, left.column) < (right.line, right.column)
    }

    var description: String { "\(line):\(column)" }
  }

  /// A step from a value to one inside it.
  enum Step: Hashable {
    case key(String)
    case index(Int)

    init(_ key: any CodingKey) {
      self = key.intValue.map(Step.index) ?? .key(key.stringValue)
    }
  }

  private(set) var keys: [[Step]: Place] = [:]
  private(set) var values: [[Step]: Place] = [:]
  /// Keys that an object has already.
  private(set) var repeated: [(path: [Step], place: Place)] = []

  /// Reads a text through. Throws the first place where it is no JSON, and why.
  init(_ text: [UInt8]) throws(ConfigurationProblem) {
    var scanner = JSONScanner(text)
    try scanner.scanDocument(into: &self)
  }

  mutating func enterKey(_ path: [Step], at place: Place) {
    if keys[path] == nil { keys[path] = place } else { repeated.append((path, place)) }
  }

  mutating func enterValue(_ path: [Step], at place: Place) {
    if values[path] == nil { values[path] = place }
  }

  /// Where `path` stands: its value, its key, or else the innermost value around it.
  func place(of path: [Step], isAboutKey: Bool) -> Place? {
    if isAboutKey, let place = keys[path] { return place }
    var path = path[...]
    while true {
      if let place = values[Array(path)] { return place }
      guard !path.isEmpty else { return nil }
      path.removeLast()
    }
  }

  /// `pools[0].size`.
  static func name(of path: [Step]) -> String {
    path.reduce(into: "") { name, step in
      switch step {
      case .index(let index): name += "[\(index)]"
      case .key(let key): name += (name.isEmpty ? "" : ".") + quotedForLog(key, always: false)
      }
    }
  }
}
