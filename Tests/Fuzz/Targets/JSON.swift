import FoundationEssentials
import LocatedJSON

extension FuzzTarget {
  /// A JSON text.
  ///
  /// What is accepted is decoded, and each value of it begins where the map has it. What is refused is
  /// refused at a place in the text, on a line that steers no terminal.
  static let json = FuzzTarget(name: "json") { text in
    let lines = text.split(separator: 10, omittingEmptySubsequences: false).map {
      Array(String(decoding: $0, as: UTF8.self).unicodeScalars)
    }
    func scalar(at location: JSONSourceMap.Location) -> Unicode.Scalar? {
      guard lines.indices.contains(location.line - 1) else {
        preconditionFailure("the line is there")
      }
      let line = lines[location.line - 1]
      // At most one behind the last character: what is missing is missing there.
      precondition(1...line.count + 1 ~= location.column, "the column is in its line")
      return location.column <= line.count ? line[location.column - 1] : nil
    }
    do throws(JSONSyntaxError) {
      let map = try JSONSourceMap(text)
      precondition(String(validating: text, as: UTF8.self) != nil, "JSON is text, in UTF-8")
      for location in map.keys.values { precondition(scalar(at: location) == "\"") }
      let decoded = Result { try JSONDecoder().decode(Value.self, from: Data(text)) }
      guard case .success(let value) = decoded else {
        preconditionFailure("a text with a map can be decoded: \(decoded)")
      }
      var count = 0
      value.visit([]) { path, value in
        count += 1
        guard let location = map.values[path], let first = scalar(at: location) else {
          preconditionFailure("each value has a location")
        }
        // Of a repeated key, the map has the first one's location, and the decoder any value.
        if map.repeatedKeys.isEmpty { precondition(value.canBegin(with: first)) }
        precondition(map.location(of: path) == location)
        precondition(map.location(of: path + [.index(0), .key("x")]) != nil)
        if case .key? = path.last {
          precondition(map.location(of: path, isAboutKey: true) == map.keys[path])
          precondition(map.keys[path].map { $0 < location } ?? false, "a key is before its value")
        }
      }
      if map.repeatedKeys.isEmpty { precondition(count == map.values.count, "and no other has") }
      for repeated in map.repeatedKeys {
        precondition(scalar(at: repeated.location) == "\"")
        precondition(map.keys[repeated.path].map { $0 < repeated.location } ?? false)
      }
    } catch {
      _ = scalar(at: error.location)
      precondition(!error.cause.isEmpty && error.cause.utf8.count < 10_000, "a line is no page")
      precondition(
        error.cause.utf8.allSatisfy { 0x20..<0x7f ~= $0 }, "no text steers a terminal: \(error)")
    }
  }

  /// Any JSON value, decoded.
  private indirect enum Value: Decodable {
    case object([String: Value])
    case array([Value])
    case string
    case number
    case word

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if container.decodeNil() || (try? container.decode(Bool.self)) != nil {
        self = .word
      } else if (try? container.decode(String.self)) != nil {
        self = .string
      } else if let values = try? container.decode([Value].self) {
        self = .array(values)
      } else if let values = try? container.decode([String: Value].self) {
        self = .object(values)
      } else {
        _ = try container.decode(Double.self)
        self = .number
      }
    }

    func visit(
      _ path: [JSONSourceMap.Step], _ body: ([JSONSourceMap.Step], Value) -> Void
    ) {
      body(path, self)
      switch self {
      case .object(let values):
        for (key, value) in values { value.visit(path + [.key(key)], body) }
      case .array(let values):
        for (index, value) in values.enumerated() { value.visit(path + [.index(index)], body) }
      case .string, .number, .word: break
      }
    }

    func canBegin(with scalar: Unicode.Scalar) -> Bool {
      switch self {
      case .object: scalar == "{"
      case .array: scalar == "["
      case .string: scalar == "\""
      case .number: "-0123456789".unicodeScalars.contains(scalar)
      case .word: "tfn".unicodeScalars.contains(scalar)
      }
    }
  }
}
