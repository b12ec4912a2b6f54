/// A number of bytes: a size, a length, an offset, an alignment. 0 … 2^64 − 1.
public struct ByteCount: Hashable, Comparable, Sendable, ExpressibleByIntegerLiteral {
  /// The count, in bytes.
  public let rawValue: UInt64

  /// `rawValue` bytes.
  @inlinable
  public init(_ rawValue: UInt64) {
    self.rawValue = rawValue
  }

  /// `count` bytes. Traps when negative.
  @inlinable
  public init(_ count: Int) {
    rawValue = UInt64(count)
  }

  @inlinable
  public init(integerLiteral value: UInt64) {
    rawValue = value
  }

  /// No bytes.
  @inlinable public static var zero: Self { Self(0 as UInt64) }

  /// `count` × 1024 bytes. Traps past 2^64 − 1, as the next two do.
  @inlinable public static func kibibytes(_ count: UInt64) -> Self { Self(count * 1024) }
  /// `count` × 1024² bytes.
  @inlinable public static func mebibytes(_ count: UInt64) -> Self { Self(count * 1_048_576) }
  /// `count` × 1024³ bytes.
  @inlinable public static func gibibytes(_ count: UInt64) -> Self { Self(count * 1_073_741_824) }

  @inlinable
  public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
  /// The sum. Traps past 2^64 − 1.
  @inlinable
  public static func + (left: Self, right: Self) -> Self { Self(left.rawValue + right.rawValue) }
  /// The difference. Traps below 0.
  @inlinable
  public static func - (left: Self, right: Self) -> Self { Self(left.rawValue - right.rawValue) }
  /// `count` times as much. Traps past 2^64 − 1.
  @inlinable
  public static func * (left: Self, count: UInt64) -> Self { Self(left.rawValue * count) }
  @inlinable
  public static func += (left: inout Self, right: Self) { left = left + right }
  @inlinable
  public static func -= (left: inout Self, right: Self) { left = left - right }

  /// Whether this is a multiple of `unit`. Every count is a multiple of 0 and 1.
  @inlinable
  public func isMultiple(of unit: Self) -> Bool {
    unit.rawValue <= 1 || rawValue % unit.rawValue == 0
  }

  /// Whether this is 1, 2, 4, 8, ….
  @inlinable
  public var isPowerOfTwo: Bool { rawValue.nonzeroBitCount == 1 }

  /// The next multiple of `unit` at or above, or nil past 2^64 − 1. `unit` must not be 0.
  @inlinable
  public func roundedUp(to unit: Self) -> Self? {
    precondition(unit.rawValue > 0, "a multiple of zero bytes")
    let rest = rawValue % unit.rawValue
    guard rest > 0 else { return self }
    let (sum, overflow) = rawValue.addingReportingOverflow(unit.rawValue - rest)
    return overflow ? nil : Self(sum)
  }

  /// The multiple of `unit` at or below. `unit` must not be 0.
  @inlinable
  public func roundedDown(to unit: Self) -> Self {
    precondition(unit.rawValue > 0, "a multiple of zero bytes")
    return Self(rawValue - rawValue % unit.rawValue)
  }

  /// The largest power of two that is not above this; 0 for 0. Constant time.
  @inlinable
  public var largestPowerOfTwo: Self {
    rawValue == 0 ? .zero : Self(1 << UInt64(63 - rawValue.leadingZeroBitCount))
  }
}

extension ByteCount: LosslessStringConvertible {
  /// The exact count in the largest binary unit that divides it: `64 MiB`, `12 KiB`, `100 B`.
  public var description: String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] as [(UInt64, String)]
    where rawValue != 0 && rawValue % (1 << shift) == 0 {
      return String(rawValue >> shift) + " " + unit
    }
    return String(rawValue) + " B"
  }

  /// Parses what people type and what ``description`` prints: `4096`, `0x1000`, `64K`, `64KiB`,
  /// `64 MiB`, `2G`, `1T`, `100 B`. Units are binary and of either case. Nil for anything else and
  /// past 2^64 − 1.
  public init?(_ description: String) {
    if let value = parseHexadecimal(description) {
      self.init(value)
      return
    }
    let digits = description.prefix { $0 >= "0" && $0 <= "9" }
    guard let number = UInt64(digits) else { return nil }
    var unit = description.dropFirst(digits.count)
    if unit.first == " " { unit = unit.dropFirst() }
    // Lower case turns the Kelvin sign (U+212A) into a k.
    guard unit.utf8.allSatisfy({ $0 < 0x80 }) else { return nil }
    let shift: UInt64
    switch unit.lowercased() {
    case "", "b": shift = 0
    case "k", "kb", "kib": shift = 10
    case "m", "mb", "mib": shift = 20
    case "g", "gb", "gib": shift = 30
    case "t", "tb", "tib": shift = 40
    default: return nil
    }
    guard number <= UInt64.max >> shift else { return nil }
    self.init(number << shift)
  }
}
