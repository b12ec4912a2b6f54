import StrictJSON

extension FuzzTarget {
  /// A JSON text.
  ///
  /// A text that is accepted has a value that is written and read as itself, and each value of it
  /// begins where the map has it. A text that is refused is refused at a place in the text, on a
  /// line that steers no terminal.
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
      let tree = try JSONTree(text)
      precondition(String(validating: text, as: UTF8.self) != nil, "JSON is text, in UTF-8")
      check(tree)
      let map = JSONSourceMap(of: tree)
      for location in map.keys.values { precondition(scalar(at: location) == "\"") }
      precondition(map.repeatedKeys.map(\.path) == tree.repeatedKeys)
      var count = 0
      visit(tree.root) { _ in count += 1 }
      precondition(map.values.count <= count, "no other has")
      visit(tree.root) { value in
        guard let location = map.values[value.path], let first = scalar(at: location) else {
          preconditionFailure("each value has a location")
        }
        // Of a repeated key, the map has the first one's location; so it has of two keys that are
        // canonically equivalent.
        if map.values.count == count { precondition(canBegin(value, with: first)) }
        precondition(map.location(of: value.path + [.index(0), .key("x")]) != nil)
        if case .key? = value.path.last {
          precondition(map.location(of: value.path, isAboutKey: true) == map.keys[value.path])
          precondition(
            map.keys[value.path].map { $0 < location } ?? false, "a key is before its value")
        }
      }
      for repeated in map.repeatedKeys { precondition(scalar(at: repeated.location) == "\"") }
    } catch {
      _ = scalar(at: error.location)
      precondition(!error.cause.isEmpty && error.cause.utf8.count < 10_000, "a line is no page")
      precondition(
        error.cause.utf8.allSatisfy { 0x20..<0x7f ~= $0 }, "no text steers a terminal: \(error)")
    }
  }

  /// Decoded by Codable and written, the text means the same; written again, it is the same.
  private static func check(_ tree: JSONTree) {
    for layout in [JSONWriter.Layout.compact, .indented] {
      do {
        let value = try tree.root.decode(AnyJSON.self)
        let written = try JSONWriter.bytes(of: value, layout: layout)
        let again = try JSONTree(written)
        let valueAgain = try again.root.decode(AnyJSON.self)
        precondition(again.repeatedKeys.isEmpty, "no key is written twice")
        precondition(valueAgain == value, "a text decodes to itself")
        let writtenAgain = try JSONWriter.bytes(of: valueAgain, layout: layout)
        precondition(writtenAgain == written, "the same value is the same bytes")
      } catch {
        // A number beyond a Double has no form here.
        guard case DecodingError.dataCorrupted(let context) = error else {
          preconditionFailure("an accepted text can be decoded and written: \(error)")
        }
        precondition(context.debugDescription == "the number is too large")
      }
    }
  }

  private static func visit(_ value: JSONValue, _ body: (JSONValue) -> Void) {
    body(value)
    for member in value.members { visit(member.value, body) }
    for (index, element) in value.elements.enumerated() {
      precondition(element.path == value.path + [.index(index)])
      visit(element, body)
    }
  }

  private static func canBegin(_ value: JSONValue, with scalar: Unicode.Scalar) -> Bool {
    switch value.kind {
    case .object: scalar == "{"
    case .array: scalar == "["
    case .string: scalar == "\""
    case .number: "-0123456789".unicodeScalars.contains(scalar)
    case .true, .false, .null: "tfn".unicodeScalars.contains(scalar)
    case .key: false
    }
  }
}

/// Any JSON value.
private indirect enum AnyJSON: Codable, Equatable {
  case null
  case bool(Bool)
  case integer(Int64)
  case number(Double)
  case string(String)
  case array([AnyJSON])
  case object([String: AnyJSON])

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let bool = try? container.decode(Bool.self) {
      self = .bool(bool)
    } else if let string = try? container.decode(String.self) {
      self = .string(string)
    } else if let integer = try? container.decode(Int64.self) {
      self = .integer(integer)
    } else if let array = try? decoder.unkeyedContainer() {
      var array = array
      var values: [AnyJSON] = []
      while !array.isAtEnd { values.append(try array.decode(AnyJSON.self)) }
      self = .array(values)
    } else if (try? decoder.container(keyedBy: JSONSourceMap.Step.self)) != nil {
      self = .object(try container.decode([String: AnyJSON].self))
    } else {
      let number = try container.decode(Double.self)
      // 1.0 and -0 are written as integers.
      self = Int64(exactly: number).map(AnyJSON.integer) ?? .number(number)
    }
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .bool(let bool): try container.encode(bool)
    case .integer(let integer): try container.encode(integer)
    case .number(let number): try container.encode(number)
    case .string(let string): try container.encode(string)
    case .array(let array): try container.encode(array)
    case .object(let object): try container.encode(object)
    }
  }
}
