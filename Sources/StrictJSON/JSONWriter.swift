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

/// The bytes of a text that is written.
private struct JSONOutput {
  private(set) var bytes: [UInt8] = []
  private let layout: JSONWriter.Layout
  private var depth = 0

  init(_ layout: JSONWriter.Layout) {
    self.layout = layout
    bytes.reserveCapacity(512)
  }

  mutating func write(_ value: EncodedContainer.Value) {
    switch value {
    case .null: append("null")
    case .bool(true): append("true")
    case .bool(false): append("false")
    case .integer(let integer): append(String(integer))
    case .unsigned(let integer): append(String(integer))
    case .double(let number): write(number)
    case .string(let text): write(text)
    case .none: writeList("{", "}", []) { (_, _) in }
    case .container(let container):
      if container.isObject {
        writeList("{", "}", container.sortedSlots) { (output, slot) in
          output.write(container.keys[slot])
          output.append(output.layout == .compact ? ":" : " : ")
          output.write(container.values[slot])
        }
      } else {
        writeList("[", "]", container.values.indices) { (output, slot) in
          output.write(container.values[slot])
        }
      }
    }
  }

  private mutating func writeList(
    _ opening: StaticString, _ closing: StaticString, _ slots: some Collection<Int>,
    _ write: (inout Self, Int) -> Void
  ) {
    append(opening)
    depth += 1
    var isFirst = true
    for slot in slots {
      if !isFirst { append(",") }
      isFirst = false
      startLine()
      write(&self, slot)
    }
    depth -= 1
    // An empty list has an empty line.
    if isFirst, layout == .indented { append("\n") }
    startLine()
    append(closing)
  }

  private mutating func startLine() {
    guard layout == .indented else { return }
    append("\n")
    for _ in 0..<depth { append("  ") }
  }

  /// The shortest text that reads as the same number; whole ones without a fraction.
  private mutating func write(_ number: Double) {
    let text = number.description
    append(text.hasSuffix(".0") ? String(text.dropLast(2)) : text)
  }

  private mutating func write(_ text: String) {
    append("\"")
    if text.utf8.allSatisfy({ $0 >= 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") })
    {
      append(text)
    } else {
      for byte in text.utf8 { write(byte) }
    }
    append("\"")
  }

  /// One byte of a string, with its escape if it takes one. RFC 8259, section 7.
  private mutating func write(_ byte: UInt8) {
    switch byte {
    case UInt8(ascii: "\""): append("\\\"")
    case UInt8(ascii: "\\"): append("\\\\")
    case 0x08: append("\\b")
    case 0x0c: append("\\f")
    case UInt8(ascii: "\n"): append("\\n")
    case UInt8(ascii: "\r"): append("\\r")
    case UInt8(ascii: "\t"): append("\\t")
    case ..<0x20: append((byte < 0x10 ? "\\u000" : "\\u00") + String(byte, radix: 16))
    default: bytes.append(byte)
    }
  }

  private mutating func append(_ text: StaticString) {
    text.withUTF8Buffer { unsafe bytes.append(contentsOf: $0) }
  }

  private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }
}
