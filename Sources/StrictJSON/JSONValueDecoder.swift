/// Decodes one value of a tree.
///
/// Two words, so that it fits into an existential: a value costs no allocation. Paths are made from
/// the tree when an error needs one.
struct JSONValueDecoder: Decoder, SingleValueDecodingContainer {
  private let value: JSONValue

  init(_ value: JSONValue) {
    self.value = value
  }

  var codingPath: [any CodingKey] { value.path }
  var userInfo: [CodingUserInfoKey: Any] { value.tree.userInfo }

  func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    guard value.kind == .object else { throw value.mismatch([String: Any].self) }
    return KeyedDecodingContainer(JSONObjectDecoder<Key>(value))
  }

  func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
    guard value.kind == .array else { throw value.mismatch([Any].self) }
    return JSONArrayDecoder(value)
  }

  func singleValueContainer() throws -> any SingleValueDecodingContainer { self }

  func decodeNil() -> Bool { value.kind == .null }
  func decode(_ type: Bool.Type) throws -> Bool { try value.decoded() }
  func decode(_ type: String.Type) throws -> String { try value.decoded() }
  func decode(_ type: Double.Type) throws -> Double { try value.decoded() }
  func decode(_ type: Float.Type) throws -> Float { Float(try value.decoded() as Double) }
  func decode(_ type: Int.Type) throws -> Int { try value.decoded() }
  func decode(_ type: Int8.Type) throws -> Int8 { try value.decoded() }
  func decode(_ type: Int16.Type) throws -> Int16 { try value.decoded() }
  func decode(_ type: Int32.Type) throws -> Int32 { try value.decoded() }
  func decode(_ type: Int64.Type) throws -> Int64 { try value.decoded() }
  func decode(_ type: UInt.Type) throws -> UInt { try value.decoded() }
  func decode(_ type: UInt8.Type) throws -> UInt8 { try value.decoded() }
  func decode(_ type: UInt16.Type) throws -> UInt16 { try value.decoded() }
  func decode(_ type: UInt32.Type) throws -> UInt32 { try value.decoded() }
  func decode(_ type: UInt64.Type) throws -> UInt64 { try value.decoded() }
  func decode<Value: Decodable>(_ type: Value.Type) throws -> Value { try value.decode(type) }
}

extension JSONValue {
  /// The error for a value of another form than `type` wants.
  func mismatch(_ type: Any.Type) -> DecodingError {
    let context = DecodingError.Context(codingPath: path, debugDescription: "it is \(kind)")
    return kind == .null ? .valueNotFound(type, context) : .typeMismatch(type, context)
  }

  func decoded() throws -> Bool {
    guard let bool else { throw mismatch(Bool.self) }
    return bool
  }

  func decoded() throws -> String {
    guard let string else { throw mismatch(String.self) }
    return string
  }

  func decoded() throws -> Double {
    guard let double else {
      guard kind == .number else { throw mismatch(Double.self) }
      throw DecodingError.dataCorrupted(
        .init(codingPath: path, debugDescription: "the number is too large"))
    }
    return double
  }

  func decoded<Value: FixedWidthInteger>() throws -> Value {
    guard let integer = integer(as: Value.self) else {
      guard isInteger else { throw mismatch(Value.self) }
      throw DecodingError.dataCorrupted(
        .init(
          codingPath: path,
          debugDescription: "an integer from \(Value.min) to \(Value.max) is wanted"))
    }
    return integer
  }
}

extension JSONSourceMap.Step: CodingKey {
  package var stringValue: String {
    switch self {
    case .key(let name): name
    case .index(let index): "\(index)"
    }
  }

  package var intValue: Int? {
    if case .index(let index) = self { index } else { nil }
  }

  package init?(stringValue: String) { self = .key(stringValue) }
  package init?(intValue: Int) { self = .index(intValue) }
}
