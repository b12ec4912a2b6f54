/// Reads a JSON text in the one form that ``JSONOutput`` writes: no blanks, no escapes, keys in the
/// order in which they are asked for.
///
/// Each of its methods takes what it is asked for and says whether it was there. So each byte of a
/// text that was taken whole is known; of any other text nothing is to be believed, and
/// ``JSONTree`` decides. Text beyond ASCII is not taken: that reader knows UTF-8.
package struct CanonicalScanner {
  private let text: [UInt8]
  private var index = 0

  package init(_ text: [UInt8]) {
    self.text = text
  }

  /// Whether all of the text was taken.
  package var isAtEnd: Bool { index == text.count }

  /// Takes `literal`, if that is what follows.
  package mutating func take(_ literal: StaticString) -> Bool {
    let count = literal.utf8CodeUnitCount
    guard text.count - index >= count else { return false }
    let isThere = literal.withUTF8Buffer { expected in
      unsafe text[index..<index + count].elementsEqual(expected)
    }
    if isThere { index += count }
    return isThere
  }

  /// Takes the key of an object's next member, with what separates it from the one before it, if
  /// that is the one that follows.
  package mutating func takeKey(_ key: StaticString) -> Bool {
    let start = index
    let isFirst = index > 0 && text[index - 1] == UInt8(ascii: "{")
    if isFirst || take(","), take("\""), take(key), take("\":") { return true }
    index = start
    return false
  }

  /// Takes a string of printable ASCII without escapes.
  package mutating func takeString() -> String? {
    guard take("\"") else { return nil }
    let start = index
    while index < text.count {
      switch text[index] {
      case UInt8(ascii: "\""):
        index += 1
        return String(decoding: text[start..<index - 1], as: UTF8.self)
      case UInt8(ascii: "\\"), ..<0x20, 0x80...: return nil
      default: index += 1
      }
    }
    return nil
  }

  /// Takes an integer in its one form: without needless zeros, and no `-0`.
  package mutating func takeInteger() -> Int64? {
    let isNegative = take("-")
    let start = index
    var value: Int64 = 0
    while index < text.count, let digit = text[index].decimalDigit {
      let product = value.multipliedReportingOverflow(by: 10)
      let sum = product.partialValue.subtractingReportingOverflow(digit)
      guard !product.overflow, !sum.overflow else { return nil }
      value = sum.partialValue
      index += 1
    }
    // It was counted downward, where there is room for one more.
    guard index > start, text[start] != UInt8(ascii: "0") || index == start + 1 && !isNegative,
      isNegative || value > .min
    else { return nil }
    return isNegative ? value : -value
  }
}

extension UInt8 {
  /// The value of a decimal digit.
  fileprivate var decimalDigit: Int64? {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) ? Int64(self - UInt8(ascii: "0")) : nil
  }
}
