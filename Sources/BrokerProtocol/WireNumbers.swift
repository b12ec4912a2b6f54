// How GenPool's numbers travel: addresses as strings, since many JSON readers lose integers above
// 2^53; counts as integers, refused when negative or above 2^63 − 1 (varlink's int is signed).

public import GenPool

extension Address: Codable {
  /// Reads `"0x…"`; anything else is a `DecodingError`.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let address = Address(text) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "an address is \"0x\" and 1 to 16 hexadecimal digits")
    }
    self = address
  }

  /// Writes `"0x"` and 16 digits.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

extension ByteCount {
  /// Whether the protocol can carry it: up to 2^63 − 1.
  package var isOnWire: Bool { Int64(exactly: rawValue) != nil }
}

extension ByteCount: Codable {
  /// Reads an integer from 0 up to 2^63 − 1; anything else is a `DecodingError`.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    guard let count = UInt64(exactly: try container.decode(Int64.self)) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "a count of bytes is not negative")
    }
    self.init(count)
  }

  /// Writes an integer. Counts above 2^63 − 1 are an `EncodingError`: varlink's int is signed.
  public func encode(to encoder: any Encoder) throws {
    guard let count = Int64(exactly: rawValue) else {
      throw EncodingError.invalidValue(
        self, .init(codingPath: encoder.codingPath, debugDescription: "more than 2^63 - 1 bytes"))
    }
    var container = encoder.singleValueContainer()
    try container.encode(count)
  }
}
