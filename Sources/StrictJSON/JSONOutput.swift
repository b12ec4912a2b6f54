/// The bytes of a text that is written: by ``JSONWriter``, or member by member in their order.
package struct JSONOutput {
  package private(set) var bytes: [UInt8] = []
  private let layout: JSONWriter.Layout
  private var depth = 0

  package init(_ layout: JSONWriter.Layout = .compact) {
    self.layout = layout
    bytes.reserveCapacity(512)
  }

  // MARK: Member by member, in the compact layout

  package mutating func beginObject() { append("{") }
  package mutating func endObject() { append("}") }

  /// Writes the key of an object's next member, which no escape is for. They come in the order of
  /// their bytes, as ``JSONWriter`` sorts them.
  package mutating func write(key: StaticString) {
    // A brace in a text is followed by a quote at least.
    if bytes.last != UInt8(ascii: "{") { append(",") }
    append("\"")
    append(key)
    append("\":")
  }

  /// Writes an integer.
  package mutating func write(_ integer: Int64) { append(String(integer)) }

  /// Writes `true` or `false`.
  package mutating func write(_ flag: Bool) { append(flag ? "true" as StaticString : "false") }

  /// Ends the text, with a byte that is none of JSON's.
  package mutating func end(with byte: UInt8) { bytes.append(byte) }

  // MARK: What was gathered

  mutating func write(_ value: EncodedContainer.Value) {
    switch value {
    case .null: append("null")
    case .bool(let flag): write(flag)
    case .integer(let integer): write(integer)
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

  /// Writes a string.
  package mutating func write(_ text: String) {
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
