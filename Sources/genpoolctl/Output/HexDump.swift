import GenPool

/// Bytes as `hexdump -C` shows them: offset, sixteen bytes, the printable ones again as text. Lines
/// that repeat the line above become one `*`, so that a filled megabyte takes three lines.
///
/// Feed it bytes as they come, in pieces of any length; take the text after each piece, and the last
/// line (the end offset) from ``finish()``.
struct HexDump {
  private var offset = ByteCount.zero
  private var line: [UInt8] = []
  private var previous: [UInt8] = []
  private var squeezing = false

  /// The lines that `bytes` complete.
  mutating func add(_ bytes: [UInt8]) -> String {
    var text = ""
    for byte in bytes {
      line.append(byte)
      if line.count == Self.bytesPerLine { text += takeLine() }
    }
    return text
  }

  /// What is left, and the offset of the end.
  mutating func finish() -> String {
    var text = line.isEmpty ? "" : takeLine()
    if offset > .zero { text += Self.digits(offset) + "\n" }
    return text
  }

  private static let bytesPerLine = 16

  private mutating func takeLine() -> String {
    defer {
      offset += ByteCount(line.count)
      previous = line
      line.removeAll(keepingCapacity: true)
    }
    if line == previous {
      defer { squeezing = true }
      return squeezing ? "" : "*\n"
    }
    squeezing = false
    var text = Self.digits(offset) + " "
    for index in 0..<Self.bytesPerLine {
      if index % 8 == 0 { text += " " }
      text += index < line.count ? hexadecimal(UInt64(line[index]), digits: 2) + " " : "   "
    }
    text += " |"
    for byte in line {
      text.unicodeScalars.append(0x20..<0x7f ~= byte ? Unicode.Scalar(byte) : ".")
    }
    return text + "|\n"
  }

  private static func digits(_ offset: ByteCount) -> String {
    hexadecimal(offset.rawValue, digits: 8)
  }
}
