// The forms of RFC 8259 and of UTF-8 (RFC 3629) at a place of a text.

extension [UInt8] {
  /// The length of the escape at `index`, where a backslash stands; nil when it is none. An escaped
  /// surrogate is one only together with its other half.
  func escapeLength(at index: Int) -> Int? {
    guard index + 1 < count else { return nil }
    switch self[index + 1] {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"),
      UInt8(ascii: "f"), UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
      return 2
    case UInt8(ascii: "u"):
      guard let unit = escapedUnit(at: index) else { return nil }
      guard UTF16.isSurrogate(unit) else { return 6 }
      guard UTF16.isLeadSurrogate(unit), let trail = escapedUnit(at: index + 6),
        UTF16.isTrailSurrogate(trail)
      else { return nil }
      return 12
    default: return nil
    }
  }

  /// The UTF-16 unit that `\uXXXX` at `index` stands for; nil when there is no such escape.
  private func escapedUnit(at index: Int) -> UInt16? {
    guard index + 6 <= count, self[index] == UInt8(ascii: "\\"),
      self[index + 1] == UInt8(ascii: "u")
    else { return nil }
    var unit: UInt16 = 0
    for byte in self[index + 2..<index + 6] {
      guard let digit = byte.hexadecimalDigit else { return nil }
      unit = unit << 4 | UInt16(digit)
    }
    return unit
  }

  /// The bytes in `range` of a string that was read, with its escapes resolved.
  func unescaped(_ range: Range<Int>) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(range.count)
    var index = range.lowerBound
    while index < range.upperBound {
      guard self[index] == UInt8(ascii: "\\") else {
        bytes.append(self[index])
        index += 1
        continue
      }
      let sign = self[index + 1]
      switch sign {
      case UInt8(ascii: "b"): bytes.append(0x08)
      case UInt8(ascii: "f"): bytes.append(0x0c)
      case UInt8(ascii: "n"): bytes.append(0x0a)
      case UInt8(ascii: "r"): bytes.append(0x0d)
      case UInt8(ascii: "t"): bytes.append(0x09)
      case UInt8(ascii: "u"):
        let length = escapeLength(at: index) ?? 6
        let units = [escapedUnit(at: index), length == 12 ? escapedUnit(at: index + 6) : nil]
        bytes += String(decoding: units.compactMap { $0 }, as: UTF16.self).utf8
        index += length
        continue
      default: bytes.append(sign)
      }
      index += 2
    }
    return bytes
  }

  /// The length of the UTF-8 sequence at `index`; nil when it is none: too short, longer than it
  /// need be, a surrogate, or beyond U+10FFFF. RFC 3629, section 4.
  func scalarLength(at index: Int) -> Int? {
    let first = self[index]
    let length: Int
    var second: ClosedRange<UInt8> = 0x80...0xbf
    switch first {
    case ..<0x80: return 1
    case 0xc2...0xdf: length = 2
    case 0xe0: (length, second) = (3, 0xa0...0xbf)
    case 0xed: (length, second) = (3, 0x80...0x9f)
    case 0xe1...0xef: length = 3
    case 0xf0: (length, second) = (4, 0x90...0xbf)
    case 0xf4: (length, second) = (4, 0x80...0x8f)
    case 0xf1...0xf3: length = 4
    default: return nil
    }
    guard index + length <= count, second.contains(self[index + 1]) else { return nil }
    for byte in self[index + 2..<index + length] where byte & 0xc0 != 0x80 { return nil }
    return length
  }

  /// Whether the bytes in `token` are a number: `-`, digits without a needless 0, a fraction, an
  /// exponent.
  func isNumber(_ token: Range<Int>) -> Bool {
    var rest = self[token]
    func takeDigits() -> Int {
      let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }.count
      rest = rest.dropFirst(digits)
      return digits
    }
    if rest.first == UInt8(ascii: "-") { rest = rest.dropFirst() }
    let leading = rest.first
    let digits = takeDigits()
    guard digits == 1 || digits > 1 && leading != UInt8(ascii: "0") else { return false }
    if rest.first == UInt8(ascii: ".") {
      rest = rest.dropFirst()
      guard takeDigits() > 0 else { return false }
    }
    if rest.first == UInt8(ascii: "e") || rest.first == UInt8(ascii: "E") {
      rest = rest.dropFirst()
      if rest.first == UInt8(ascii: "+") || rest.first == UInt8(ascii: "-") {
        rest = rest.dropFirst()
      }
      guard takeDigits() > 0 else { return false }
    }
    return rest.isEmpty
  }

  /// Whether the number in `token` is an integer by its form: an optional `-` and digits. `-0` is
  /// none: each integer has one form.
  func isInteger(_ token: Range<Int>) -> Bool {
    let digits = self[token].first == UInt8(ascii: "-") ? token.dropFirst() : token
    let isNegativeZero = digits.count < token.count && self[digits.lowerBound] == UInt8(ascii: "0")
    return !isNegativeZero
      && self[digits].allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
  }

  /// The integer in `token`; nil when the number has another form or does not fit.
  func integer<Value: FixedWidthInteger>(_ token: Range<Int>, as type: Value.Type) -> Value? {
    guard isInteger(token) else { return nil }
    let isNegative = self[token.lowerBound] == UInt8(ascii: "-")
    var value: Value = 0
    for byte in self[isNegative ? token.dropFirst() : token] {
      let product = value.multipliedReportingOverflow(by: 10)
      guard !product.overflow else { return nil }
      let digit = Value(truncatingIfNeeded: byte - UInt8(ascii: "0"))
      let sum =
        isNegative
        ? product.partialValue.subtractingReportingOverflow(digit)
        : product.partialValue.addingReportingOverflow(digit)
      guard !sum.overflow else { return nil }
      value = sum.partialValue
    }
    return value
  }
}

extension UInt8 {
  /// The value of a hexadecimal digit.
  fileprivate var hexadecimalDigit: UInt8? {
    switch self {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
