public import GenPool

/// How far the devices' side of a host bridge is shifted against the CPU's: bus address − physical
/// address, in bytes, either way.
public struct BusOffset: Hashable, Sendable {
  /// In bytes; negative when devices see lower numbers than the CPU.
  public let rawValue: Int64

  /// So many bytes.
  public init(_ rawValue: Int64) {
    self.rawValue = rawValue
  }

  /// A bridge that does not translate, as on PCs.
  public static let none = Self(0)

  /// Where devices find what the CPU finds at `physical`; nil outside of the address space.
  public func bus(of physical: PhysicalAddress) -> BusAddress? {
    let magnitude = rawValue.magnitude
    let (sum, overflow) =
      rawValue < 0
      ? physical.rawValue.subtractingReportingOverflow(magnitude)
      : physical.rawValue.addingReportingOverflow(magnitude)
    return overflow ? nil : BusAddress(sum)
  }
}

extension BusOffset: LosslessStringConvertible {
  public var description: String {
    (rawValue < 0 ? "-" : "") + "0x" + String(rawValue.magnitude, radix: 16)
  }

  /// Parses what ``ByteCount`` parses, with an optional `-` before it, up to 2^63 − 1.
  public init?(_ description: String) {
    let isNegative = description.hasPrefix("-")
    guard let count = ByteCount(isNegative ? String(description.dropFirst()) : description),
      let value = Int64(exactly: count.rawValue)
    else { return nil }
    rawValue = isNegative ? -value : value
  }
}
