/// Decodes the members of an object. Of a repeated key the first value counts.
struct JSONObjectDecoder<Key: CodingKey>: KeyedDecodingContainerProtocol {
  private let object: JSONValue
  /// The values by key, for an object with many: a search of all for each would be quadratic.
  private let index: [[UInt8]: JSONValue]?

  private static var searchedInOrder: Int { 32 }

  /// Decodes `object`, which is one.
  init(_ object: JSONValue) {
    self.object = object
    guard object.count > Self.searchedInOrder else {
      index = nil
      return
    }
    var index: [[UInt8]: JSONValue] = [:]
    index.reserveCapacity(object.count)
    var child = object.firstChild
    while let value = child {
      let key = value.keyBytes
      if index[key] == nil { index[key] = value }
      child = value.sibling
    }
    self.index = index
  }

  var codingPath: [any CodingKey] { object.path }
  var allKeys: [Key] { object.distinctKeys.compactMap { Key(stringValue: $0) } }

  private func find(_ key: some CodingKey) -> JSONValue? {
    index.map { $0[Array(key.stringValue.utf8)] } ?? object[key.stringValue]
  }

  private func value(_ key: some CodingKey) throws -> JSONValue {
    guard let value = find(key) else {
      throw DecodingError.keyNotFound(
        key, .init(codingPath: codingPath, debugDescription: "the key is missing"))
    }
    return value
  }

  /// The value of `key`; nil when there is none, or null.
  private func valueIfPresent(_ key: Key) -> JSONValue? {
    find(key).flatMap { $0.kind == .null ? nil : $0 }
  }

  func contains(_ key: Key) -> Bool { find(key) != nil }
  func decodeNil(forKey key: Key) throws -> Bool { try value(key).kind == .null }

  func decode(_ type: Bool.Type, forKey key: Key) throws -> Bool { try value(key).decoded() }
  func decode(_ type: String.Type, forKey key: Key) throws -> String { try value(key).decoded() }
  func decode(_ type: Double.Type, forKey key: Key) throws -> Double { try value(key).decoded() }
  func decode(_ type: Float.Type, forKey key: Key) throws -> Float {
    Float(try value(key).decoded() as Double)
  }
  func decode(_ type: Int.Type, forKey key: Key) throws -> Int { try value(key).decoded() }
  func decode(_ type: Int8.Type, forKey key: Key) throws -> Int8 { try value(key).decoded() }
  func decode(_ type: Int16.Type, forKey key: Key) throws -> Int16 { try value(key).decoded() }
  func decode(_ type: Int32.Type, forKey key: Key) throws -> Int32 { try value(key).decoded() }
  func decode(_ type: Int64.Type, forKey key: Key) throws -> Int64 { try value(key).decoded() }
  func decode(_ type: UInt.Type, forKey key: Key) throws -> UInt { try value(key).decoded() }
  func decode(_ type: UInt8.Type, forKey key: Key) throws -> UInt8 { try value(key).decoded() }
  func decode(_ type: UInt16.Type, forKey key: Key) throws -> UInt16 { try value(key).decoded() }
  func decode(_ type: UInt32.Type, forKey key: Key) throws -> UInt32 { try value(key).decoded() }
  func decode(_ type: UInt64.Type, forKey key: Key) throws -> UInt64 { try value(key).decoded() }
  func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value {
    try value(key).decode(type)
  }

  // The defaults search for a key three times.
  func decodeIfPresent(_ type: Bool.Type, forKey key: Key) throws -> Bool? {
    try valueIfPresent(key)?.decoded()
  }
  func decodeIfPresent(_ type: String.Type, forKey key: Key) throws -> String? {
    try valueIfPresent(key)?.decoded()
  }
  func decodeIfPresent(_ type: Int.Type, forKey key: Key) throws -> Int? {
    try valueIfPresent(key)?.decoded()
  }
  func decodeIfPresent<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value? {
    try valueIfPresent(key)?.decode(type)
  }

  func nestedContainer<NestedKey: CodingKey>(
    keyedBy type: NestedKey.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<NestedKey> {
    try JSONValueDecoder(value(key)).container(keyedBy: type)
  }

  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
    try JSONValueDecoder(value(key)).unkeyedContainer()
  }

  func superDecoder() throws -> any Decoder {
    JSONValueDecoder(try value(JSONSourceMap.Step.key("super")))
  }

  func superDecoder(forKey key: Key) throws -> any Decoder { JSONValueDecoder(try value(key)) }
}
