/// A point in one address space of the machine.
///
/// The same byte of a device has up to four numbers: where the process sees it, where the CPU's
/// bus puts it, where the devices' bus puts it, and where an IOMMU lets one device reach it. Each
/// space is a type of its own, so handing a physical address to a device that wants a bus address
/// does not compile. Legal arithmetic: address ± count, address − address (same space).
public struct Address<Space: AddressSpace>: Hashable, Comparable, Sendable {
  /// The address as the hardware counts it, in bytes.
  public let rawValue: UInt64

  /// The address `rawValue`, in bytes. All 64-bit values are addresses.
  @inlinable
  public init(_ rawValue: UInt64) {
    self.rawValue = rawValue
  }

  @inlinable
  public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

  /// The address `offset` bytes higher. Traps past 2^64 − 1: use ``advanced(by:)`` for foreign input.
  @inlinable
  public static func + (address: Self, offset: ByteCount) -> Self {
    Self(address.rawValue + offset.rawValue)
  }

  /// The address `offset` bytes lower. Traps below 0.
  @inlinable
  public static func - (address: Self, offset: ByteCount) -> Self {
    Self(address.rawValue - offset.rawValue)
  }

  /// The distance from `origin` up to `address`, in bytes. Traps when `origin` is the higher one.
  @inlinable
  public static func - (address: Self, origin: Self) -> ByteCount {
    ByteCount(address.rawValue - origin.rawValue)
  }

  /// The address `offset` bytes higher, or nil past 2^64 − 1.
  @inlinable
  public func advanced(by offset: ByteCount) -> Self? {
    let (sum, overflow) = rawValue.addingReportingOverflow(offset.rawValue)
    return overflow ? nil : Self(sum)
  }

  /// Whether the address is a multiple of `alignment` bytes. Every address is a multiple of 0 and 1.
  @inlinable
  public func isAligned(to alignment: ByteCount) -> Bool {
    alignment.rawValue <= 1 || rawValue % alignment.rawValue == 0
  }
}

/// Marks one of the machine's address spaces; never instantiated.
public protocol AddressSpace {}

/// Addresses that this process dereferences, or the numbers that stand for them in a pool.
public enum VirtualSpace: AddressSpace {}
/// Addresses on the CPU's side of the host bridge: sysfs `resource`, /proc/iomem.
public enum PhysicalSpace: AddressSpace {}
/// Addresses on the devices' side of the host bridge: BAR registers, DMA without an IOMMU.
public enum BusSpace: AddressSpace {}
/// I/O virtual addresses: what one device uses behind an IOMMU.
public enum IOVASpace: AddressSpace {}

/// An address that a pool hands out: the kernel's `unsigned long` from `gen_pool_alloc`.
public typealias VirtualAddress = Address<VirtualSpace>
/// An address on the CPU's side of the host bridge: the kernel's `phys_addr_t`.
public typealias PhysicalAddress = Address<PhysicalSpace>
/// An address on the devices' side of the host bridge: the kernel's `pci_bus_addr_t`.
public typealias BusAddress = Address<BusSpace>
/// An address that one device uses behind an IOMMU: the kernel's `dma_addr_t` there.
public typealias IOVA = Address<IOVASpace>

extension Address: LosslessStringConvertible {
  /// `0x` and 16 lower-case digits, as tables show addresses.
  public var description: String { "0x" + hexadecimal(rawValue, digits: 16) }

  /// Parses `0x` and 1 to 16 hexadecimal digits of either case; nil for anything else.
  public init?(_ description: String) {
    guard let value = parseHexadecimal(description) else { return nil }
    self.init(value)
  }
}

/// `value` in lower-case hexadecimal, padded with zeros to at least `digits`.
package func hexadecimal(_ value: UInt64, digits: Int) -> String {
  let text = String(value, radix: 16)
  return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
}

/// The value of `0x…` with 1 to 16 digits, nil for anything else (signs and blanks included).
package func parseHexadecimal(_ text: String) -> UInt64? {
  let bytes = text.utf8
  guard bytes.count > 2, bytes.count <= 18, text.hasPrefix("0x") || text.hasPrefix("0X") else {
    return nil
  }
  var value: UInt64 = 0
  for byte in bytes.dropFirst(2) {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt64(byte - 0x30)
    case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt64(byte - 0x57)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): value = value << 4 | UInt64(byte - 0x37)
    default: return nil
    }
  }
  return value
}
