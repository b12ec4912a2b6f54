/// Decodes the elements of an array, in their order.
struct JSONArrayDecoder: UnkeyedDecodingContainer {
  private let array: JSONValue
  /// The element that is decoded next; nil behind the last one.
  private var next: JSONValue?
  private(set) var currentIndex = 0

  /// Decodes `array`, which is one.
  init(_ array: JSONValue) {
    self.array = array
    next = array.firstChild
  }

  var codingPath: [any CodingKey] { array.path }
  var count: Int? { array.count }
  var isAtEnd: Bool { next == nil }

  /// Takes the next element if `body` can make a value of it.
  private mutating func take<Value>(_ body: (JSONValue) throws -> Value) throws -> Value {
    guard let element = next else {
      throw DecodingError.valueNotFound(
        Value.self,
        .init(
          codingPath: array.path + [.index(currentIndex)],
          debugDescription: "the list has no more elements"))
    }
    let value = try body(element)
    next = element.sibling
    currentIndex += 1
    return value
  }

  mutating func decodeNil() throws -> Bool {
    guard next?.kind == .null else { return false }
    return try take { _ in true }
  }

  mutating func decode(_ type: Bool.Type) throws -> Bool { try take { try $0.decoded() } }
  mutating func decode(_ type: String.Type) throws -> String { try take { try $0.decoded() } }
  mutating func decode(_ type: Double.Type) throws -> Double { try take { try $0.decoded() } }
  mutating func decode(_ type: Float.Type) throws -> Float {
    Float(try take { try $0.decoded() as Double })
  }
  mutating func decode(_ type: Int.Type) throws -> Int { try take { try $0.decoded() } }
  mutating func decode(_ type: Int8.Type) throws -> Int8 { try take { try $0.decoded() } }
  mutating func decode(_ type: Int16.Type) throws -> Int16 { try take { try $0.decoded() } }
  mutating func decode(_ type: Int32.Type) throws -> Int32 { try take { try $0.decoded() } }
  mutating func decode(_ type: Int64.Type) throws -> Int64 { try take { try $0.decoded() } }
  mutating func decode(_ type: UInt.Type) throws -> UInt { try take { try $0.decoded() } }
  mutating func decode(_ type: UInt8.Type) throws -> UInt8 { try take { try $0.decoded() } }
  mutating func decode(_ type: UInt16.Type) throws -> UInt16 { try take { try $0.decoded() } }
  mutating func decode(_ type: UInt32.Type) throws -> UInt32 { try take { try $0.decoded() } }
  mutating func decode(_ type: UInt64.Type) throws -> UInt64 { try take { try $0.decoded() } }
  mutating func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
    try take { try $0.decode(type) }
  }

  mutating func nestedContainer<NestedKey: CodingKey>(
    keyedBy type: NestedKey.Type
  ) throws -> KeyedDecodingContainer<NestedKey> {
    try take { try JSONValueDecoder($0).container(keyedBy: type) }
  }

  mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
    try take { try JSONValueDecoder($0).unkeyedContainer() }
  }

  mutating func superDecoder() throws -> any Decoder { try take { JSONValueDecoder($0) } }
}
