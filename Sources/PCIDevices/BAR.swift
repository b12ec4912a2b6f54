public import GenPool

/// A base address register that is implemented: a window of a device into memory or I/O space.
public struct BAR: Hashable, Sendable {
  /// Which one, counting registers: a 64-bit BAR takes up its number and the next.
  public let index: Index
  /// What kind of space it decodes.
  public let kind: Kind
  /// How long it is, in bytes: a power of two on every device that follows the specification.
  public let size: ByteCount
  /// Where the CPU finds it (sysfs `resource`); nil for I/O, for size 0, and while unassigned.
  public let physical: AddressRange<PhysicalSpace>?
  /// Where other devices find it (the BAR register in `config`); nil for I/O, while unassigned, and
  /// where the register does not tell: virtual functions, Enhanced Allocation, a device that is gone.
  public let bus: BusAddress?
  /// Whether reading has no side effects.
  public let isPrefetchable: Bool
  /// Whether it can lie above 4 GiB.
  public let is64Bit: Bool
  /// Whether sysfs has `resourceN`, which maps it uncached.
  public let hasResourceFile: Bool
  /// Whether sysfs has `resourceN_wc`, which maps it write-combining.
  public let hasWriteCombiningFile: Bool

  /// The name of the file that maps it uncached.
  package var resourceFile: String { "resource\(index)" }
  /// The name of the file that maps it write-combining.
  package var writeCombiningFile: String { "resource\(index)_wc" }
}

extension BAR: CustomStringConvertible {
  /// As the kernel logs it: `BAR 2 [mem 0x…-0x… 64bit pref]`.
  public var description: String {
    let place = physical?.description ?? "size \(size)"
    return "BAR \(index) [\(kind == .io ? "io" : "mem") \(place)\(is64Bit ? " 64bit" : "")"
      + "\(isPrefetchable ? " pref" : "")]"
  }
}

extension BAR {
  /// What a BAR decodes.
  public enum Kind: String, Hashable, Sendable, CaseIterable {
    case memory
    case io
  }

  /// The number of a BAR, 0-5.
  public struct Index: Hashable, Comparable, Sendable, CaseIterable {
    /// 0-5.
    public let rawValue: Int

    /// BAR `rawValue`, nil unless 0-5.
    public init?(_ rawValue: Int) {
      guard 0...5 ~= rawValue else { return nil }
      self.rawValue = rawValue
    }

    public static var allCases: [Self] { [0, 1, 2, 3, 4, 5] }

    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
  }
}

extension BAR.Index: ExpressibleByIntegerLiteral, LosslessStringConvertible {
  /// BAR `value`. Traps unless 0-5: a literal is the programmer's.
  public init(integerLiteral value: Int) {
    precondition(0...5 ~= value, "a BAR has a number from 0 to 5")
    rawValue = value
  }

  public var description: String { String(rawValue) }

  /// Parses one digit, 0-5.
  public init?(_ description: String) {
    guard description.utf8.count == 1, let rawValue = Int(description) else { return nil }
    self.init(rawValue)
  }
}
