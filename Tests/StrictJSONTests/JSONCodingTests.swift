import Foundation
import StrictJSON
import Testing

/// Codable over the tree and the writer, and Foundation's over the same texts.
@Suite struct JSONCodingTests {
  /// Any value.
  enum Value: Codable, Equatable {
    case null
    case bool(Bool)
    case integer(Int64)
    case number(Double)
    case string(String)
    case array([Value])
    case object([String: Value])

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
      } else if let number = try? container.decode(Double.self) {
        // Foundation reads 1.0 as an integer.
        self = Int64(exactly: number).map(Value.integer) ?? .number(number)
      } else if let array = try? container.decode([Value].self) {
        self = .array(array)
      } else {
        self = .object(try container.decode([String: Value].self))
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

  private static let beyondFoundation: Set = [
    "1e400", "-1e400", "123456789012345678901234567890",
    // Its dictionaries take them for one key.
    "{\"\u{e9}\":1,\"e\u{301}\":1}", "{\"K\":1,\"\u{212a}\":1}",
    "\"\u{feff}\"",
  ]

  @Test(arguments: JSONVerdictTests.accepted.filter { !beyondFoundation.contains($0) })
  func `a text means what Foundation reads`(text: String) throws {
    let bytes = Array(text.utf8)
    let read = try JSONTree(bytes).root.decode(Value.self)
    #expect(try JSONDecoder().decode(Value.self, from: Data(bytes)) == read)
  }

  @Test(arguments: JSONVerdictTests.accepted.filter { !beyondFoundation.contains($0) })
  func `what is written has Foundation's bytes, and means the same`(text: String) throws {
    let value = try JSONTree(Array(text.utf8)).root.decode(Value.self)
    let layouts: [(JSONWriter.Layout, JSONEncoder.OutputFormatting)] = [
      (.compact, [.sortedKeys, .withoutEscapingSlashes]),
      (.indented, [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]),
    ]
    for (layout, formatting) in layouts {
      let encoder = JSONEncoder()
      encoder.outputFormatting = formatting
      let written = try JSONWriter.bytes(of: value, layout: layout)
      #expect(
        String(decoding: written, as: UTF8.self)
          == String(decoding: try encoder.encode(value), as: UTF8.self))
      #expect(try JSONTree(written).root.decode(Value.self) == value)
    }
  }

  @Test func `every character is written as Foundation writes it`() throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .withoutEscapingSlashes
    for value in (0...0x2030).compactMap({ Unicode.Scalar($0 as UInt32) }) {
      let text = "a\(Character(value))b"
      let written = try JSONWriter.bytes(of: text)
      #expect(written == Array(try encoder.encode(text)), "U+\(String(value.value, radix: 16))")
      #expect(try JSONTree(written).root.string == text)
    }
  }

  @Test(arguments: [
    0, 1, -1, 0.1, 1.5, 1e15, 1e16, 1e17, 1e100, 1e-7, 123456.789, .pi, .greatestFiniteMagnitude,
    .leastNonzeroMagnitude, 100, -0.0,
  ])
  func `a number is written as Foundation writes it`(number: Double) throws {
    let written = try JSONWriter.bytes(of: number)
    #expect(
      String(decoding: written, as: UTF8.self)
        == String(decoding: try JSONEncoder().encode(number), as: UTF8.self))
    #expect(try JSONTree(written).root.double == number)
  }

  @Test(arguments: [Double.nan, .infinity, -.infinity])
  func `a number that JSON does not have is not written`(number: Double) {
    let error = #expect(throws: EncodingError.self) { try JSONWriter.bytes(of: ["a": [number]]) }
    guard case .invalidValue(_, let context) = error else { return }
    #expect(context.codingPath.map(\.stringValue) == ["a", "0"])
  }

  // MARK: Integers

  @Test(arguments: [
    ("0", 0), ("-1", -1), ("9223372036854775807", Int64.max), ("-9223372036854775808", Int64.min),
    ("7", 7),
  ])
  func `an integer is read exactly`(text: String, value: Int64) throws {
    #expect(try JSONTree(Array(text.utf8)).root.decode(Int64.self) == value)
    #expect(try JSONWriter.bytes(of: value) == Array(text.utf8))
  }

  @Test(arguments: [
    "1.0", "1e3", "-0", "1.5", "0.0", "1E0", "9223372036854775808", "-9223372036854775809",
    "1e400", "\"1\"", "true", "null", "[]", "{}", "99999999999999999999999999",
  ])
  func `what is no integer of 64 bits is none`(text: String) {
    #expect(throws: DecodingError.self) {
      try JSONTree(Array(text.utf8)).root.decode(Int64.self)
    }
  }

  @Test func `each width has its bounds`() throws {
    func read<Value: FixedWidthInteger & Decodable>(_ text: String, as: Value.Type) -> Value? {
      try? JSONTree(Array(text.utf8)).root.decode(Value.self)
    }
    #expect(read("255", as: UInt8.self) == 255 && read("256", as: UInt8.self) == nil)
    #expect(read("-1", as: UInt8.self) == nil && read("-1", as: UInt64.self) == nil)
    #expect(read("-128", as: Int8.self) == -128 && read("-129", as: Int8.self) == nil)
    #expect(read("127", as: Int8.self) == 127 && read("128", as: Int8.self) == nil)
    #expect(read("65535", as: UInt16.self) == 65535 && read("65536", as: UInt16.self) == nil)
    #expect(read("2147483648", as: Int32.self) == nil)
    #expect(read("18446744073709551615", as: UInt64.self) == .max)
    #expect(read("18446744073709551616", as: UInt64.self) == nil)
  }

  // MARK: Containers and paths

  private struct Inner: Codable, Equatable {
    var list: [Int]
    var name: String?
  }

  private struct Outer: Codable, Equatable {
    var inner: [Inner]
    var choice: Choice
    var table: [String: Int]
    var flag: Bool?
  }

  private enum Choice: Codable, Equatable {
    case file(number: UInt64, born: Int64)
    case device(String, bar: Int?)
  }

  @Test func `types are written and read, keys sorted`() throws {
    let value = Outer(
      inner: [Inner(list: [1, 2], name: "x"), Inner(list: [])],
      choice: .file(number: .max, born: -1),
      table: Dictionary(uniqueKeysWithValues: (0..<100).map { ("k\($0)", $0) }), flag: true)
    let written = try JSONWriter.bytes(of: value)
    #expect(try JSONTree(written).root.decode(Outer.self) == value)
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    #expect(written == Array(try encoder.encode(value)))
    let other = Choice.device("0000:01:00.0", bar: nil)
    #expect(try JSONTree(JSONWriter.bytes(of: other)).root.decode(Choice.self) == other)
  }

  @Test(arguments: [
    (#"{"inner":[{"list":[1,"x"]}]}"#, "inner.0.list.1"), (#"{"inner":[{}]}"#, "inner.0"),
    (#"{"inner":[{"list":[1,2.5]}]}"#, "inner.0.list.1"), (#"{"inner":7}"#, "inner"),
    (#"{"inner":[],"choice":{"file":{"number":-1,"born":0}}}"#, "choice.file.number"),
    (#"{"inner":[{"list":[],"name":[]}]}"#, "inner.0.name"), ("[]", ""),
  ])
  func `a mistake has its path`(text: String, path: String) throws {
    let error = #expect(throws: DecodingError.self) {
      try JSONTree(Array(text.utf8)).root.decode(Outer.self)
    }
    let context: DecodingError.Context? =
      switch error {
      case .typeMismatch(_, let context), .valueNotFound(_, let context),
        .keyNotFound(_, let context), .dataCorrupted(let context):
        context
      default: nil
      }
    #expect(context?.codingPath.map(\.stringValue).joined(separator: ".") == path)
  }

  /// Its members are those of two values.
  private struct Joined: Encodable {
    func encode(to encoder: any Encoder) throws {
      try Inner(list: [1], name: "first").encode(to: encoder)
      try ["name": "second", "a": "b"].encode(to: encoder)
    }
  }

  @Test func `members of one object may come from several containers, and the last counts`() throws
  {
    let written = try JSONWriter.bytes(of: [Joined()])
    #expect(String(decoding: written, as: UTF8.self) == #"[{"a":"b","list":[1],"name":"second"}]"#)
  }

  private struct SameLetters: Encodable {
    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: JSONSourceMap.Step.self)
      for key in ["\u{e9}&", "\u{e9}", "e\u{301}"] { try container.encode(0, forKey: .key(key)) }
    }
  }

  @Test func `keys are sorted by their bytes, whatever letters they are`() throws {
    let expected = "{\"e\u{301}\":0,\"\u{e9}\":0,\"\u{e9}&\":0}"
    #expect(try JSONWriter.bytes(of: SameLetters()) == Array(expected.utf8))
  }

  // MARK: Time

  @Test func `large texts take time by their size`() throws {
    // Quadratic, each would take minutes.
    let keys = (0..<200_000).map { "\"\($0)\":0" }.joined(separator: ",")
    #expect(try JSONTree(Array("{\(keys)}".utf8)).root.decode([String: Int].self).count == 200_000)
    let list = "[" + String(repeating: "[],", count: 300_000) + "[]]"
    #expect(try JSONTree(Array(list.utf8)).root.decode([[Int]].self).count == 300_001)
    let escapes = "\"" + String(repeating: "\\u00e9", count: 300_000) + "\""
    #expect(try JSONTree(Array(escapes.utf8)).root.string?.unicodeScalars.count == 300_000)
    _ = try JSONWriter.bytes(of: (0..<300_000).map { "\($0)" })
  }
}
