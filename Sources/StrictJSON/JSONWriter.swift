/// Writes JSON: keys sorted, so that the same value is the same bytes; text as UTF-8, with escapes
/// for quotes, backslashes and control characters only.
package enum JSONWriter {
  /// The layout.
  package enum Layout: Sendable {
    /// No spaces, one line.
    case compact
    /// A line for each value, two blanks of indentation, blanks around colons.
    case indented
  }

  /// The bytes of `value`, without an end of the line.
  /// - Throws: `EncodingError`, and what the type itself throws.
  package static func bytes(
    of value: some Encodable, layout: Layout = .compact
  ) throws -> [UInt8] {
    let whole = EncodedContainer(isObject: false, in: nil, at: 0)
    let slot = whole.appendSlot()
    try value.encode(to: JSONValueEncoder(whole, slot))
    var output = JSONOutput(layout)
    output.write(whole.values[slot])
    return output.bytes
  }
}
