/// Encodes one value into its place in a container.
struct JSONValueEncoder: Encoder, SingleValueEncodingContainer {
  private let container: EncodedContainer
  private let slot: Int

  init(_ container: EncodedContainer, _ slot: Int) {
    self.container = container
    self.slot = slot
  }

  var codingPath: [any CodingKey] { container.path(to: slot) }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
    KeyedEncodingContainer(JSONObjectEncoder(container.container(at: slot, isObject: true)))
  }

  func unkeyedContainer() -> any UnkeyedEncodingContainer {
    JSONArrayEncoder(container.container(at: slot, isObject: false))
  }

  func singleValueContainer() -> any SingleValueEncodingContainer { self }

  func encodeNil() { container.set(.null, at: slot) }
  func encode(_ value: Bool) { container.set(.bool(value), at: slot) }
  func encode(_ value: String) { container.set(.string(value), at: slot) }
  func encode(_ value: Double) throws { container.set(try checked(value), at: slot) }
  func encode(_ value: Float) throws {
    container.set(try checked(Double("\(value)") ?? .nan), at: slot)
  }
  func encode(_ value: Int) { container.set(.integer(Int64(value)), at: slot) }
  func encode(_ value: Int8) { container.set(.integer(Int64(value)), at: slot) }
  func encode(_ value: Int16) { container.set(.integer(Int64(value)), at: slot) }
  func encode(_ value: Int32) { container.set(.integer(Int64(value)), at: slot) }
  func encode(_ value: Int64) { container.set(.integer(value), at: slot) }
  func encode(_ value: UInt) { container.set(.unsigned(UInt64(value)), at: slot) }
  func encode(_ value: UInt8) { container.set(.unsigned(UInt64(value)), at: slot) }
  func encode(_ value: UInt16) { container.set(.unsigned(UInt64(value)), at: slot) }
  func encode(_ value: UInt32) { container.set(.unsigned(UInt64(value)), at: slot) }
  func encode(_ value: UInt64) { container.set(.unsigned(value), at: slot) }
  func encode(_ value: some Encodable) throws { try value.encode(to: self) }

  private func checked(_ value: Double) throws -> EncodedContainer.Value {
    guard value.isFinite else {
      throw EncodingError.invalidValue(
        value, .init(codingPath: codingPath, debugDescription: "JSON has no \(value)"))
    }
    return .double(value)
  }
}

/// Encodes the members of an object.
struct JSONObjectEncoder<Key: CodingKey>: KeyedEncodingContainerProtocol {
  private let object: EncodedContainer

  init(_ object: EncodedContainer) {
    self.object = object
  }

  var codingPath: [any CodingKey] { object.path }

  private func append(_ value: EncodedContainer.Value, _ key: Key) {
    object.append(value, key: key.stringValue)
  }

  private func encoder(_ key: some CodingKey) -> JSONValueEncoder {
    JSONValueEncoder(object, object.appendSlot(key: key.stringValue))
  }

  func encodeNil(forKey key: Key) { append(.null, key) }
  func encode(_ value: Bool, forKey key: Key) { append(.bool(value), key) }
  func encode(_ value: String, forKey key: Key) { append(.string(value), key) }
  func encode(_ value: Double, forKey key: Key) throws { try encoder(key).encode(value) }
  func encode(_ value: Float, forKey key: Key) throws { try encoder(key).encode(value) }
  func encode(_ value: Int, forKey key: Key) { append(.integer(Int64(value)), key) }
  func encode(_ value: Int8, forKey key: Key) { append(.integer(Int64(value)), key) }
  func encode(_ value: Int16, forKey key: Key) { append(.integer(Int64(value)), key) }
  func encode(_ value: Int32, forKey key: Key) { append(.integer(Int64(value)), key) }
  func encode(_ value: Int64, forKey key: Key) { append(.integer(value), key) }
  func encode(_ value: UInt, forKey key: Key) { append(.unsigned(UInt64(value)), key) }
  func encode(_ value: UInt8, forKey key: Key) { append(.unsigned(UInt64(value)), key) }
  func encode(_ value: UInt16, forKey key: Key) { append(.unsigned(UInt64(value)), key) }
  func encode(_ value: UInt32, forKey key: Key) { append(.unsigned(UInt64(value)), key) }
  func encode(_ value: UInt64, forKey key: Key) { append(.unsigned(value), key) }
  func encode(_ value: some Encodable, forKey key: Key) throws {
    try value.encode(to: encoder(key))
  }

  func nestedContainer<NestedKey: CodingKey>(
    keyedBy keyType: NestedKey.Type, forKey key: Key
  ) -> KeyedEncodingContainer<NestedKey> {
    encoder(key).container(keyedBy: keyType)
  }

  func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
    encoder(key).unkeyedContainer()
  }

  func superEncoder() -> any Encoder { encoder(JSONSourceMap.Step.key("super")) }
  func superEncoder(forKey key: Key) -> any Encoder { encoder(key) }
}

/// Encodes the elements of an array.
struct JSONArrayEncoder: UnkeyedEncodingContainer {
  private let array: EncodedContainer

  init(_ array: EncodedContainer) {
    self.array = array
  }

  var codingPath: [any CodingKey] { array.path }
  var count: Int { array.values.count }

  private func encoder() -> JSONValueEncoder { JSONValueEncoder(array, array.appendSlot()) }

  func encodeNil() { array.append(.null) }
  func encode(_ value: Bool) { array.append(.bool(value)) }
  func encode(_ value: String) { array.append(.string(value)) }
  func encode(_ value: Double) throws { try encoder().encode(value) }
  func encode(_ value: Float) throws { try encoder().encode(value) }
  func encode(_ value: Int) { array.append(.integer(Int64(value))) }
  func encode(_ value: Int8) { array.append(.integer(Int64(value))) }
  func encode(_ value: Int16) { array.append(.integer(Int64(value))) }
  func encode(_ value: Int32) { array.append(.integer(Int64(value))) }
  func encode(_ value: Int64) { array.append(.integer(value)) }
  func encode(_ value: UInt) { array.append(.unsigned(UInt64(value))) }
  func encode(_ value: UInt8) { array.append(.unsigned(UInt64(value))) }
  func encode(_ value: UInt16) { array.append(.unsigned(UInt64(value))) }
  func encode(_ value: UInt32) { array.append(.unsigned(UInt64(value))) }
  func encode(_ value: UInt64) { array.append(.unsigned(value)) }
  func encode(_ value: some Encodable) throws { try value.encode(to: encoder()) }

  func nestedContainer<NestedKey: CodingKey>(
    keyedBy keyType: NestedKey.Type
  ) -> KeyedEncodingContainer<NestedKey> {
    encoder().container(keyedBy: keyType)
  }

  func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { encoder().unkeyedContainer() }
  func superEncoder() -> any Encoder { encoder() }
}
