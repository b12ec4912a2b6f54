import GenPool

/// Where a device sits: domain, bus, device, function (BDF). Printed `0000:01:00.0`.
///
/// Domains are 32 bits wide: VMD and Hyper-V number theirs from 0x10000 on.
public struct PCIAddress: Hashable, Sendable {
  /// The domain (the ACPI segment, or a number that a host bridge's driver invented).
  public let domain: UInt32
  /// The bus.
  public let bus: UInt8
  /// The device on its bus, 0-31. Called a slot by the kernel's `PCI_SLOT`.
  public let device: UInt8
  /// The function of its device, 0-7.
  public let function: UInt8

  /// The address, or nil when `device` is above 31 or `function` above 7.
  public init?(domain: UInt32 = 0, bus: UInt8, device: UInt8, function: UInt8) {
    guard device < 32, function < 8 else { return nil }
    self.domain = domain
    self.bus = bus
    self.device = device
    self.function = function
  }
}

extension PCIAddress: Comparable {
  /// The order of `lspci`: by domain, bus, device, function.
  public static func < (left: Self, right: Self) -> Bool {
    (left.domain, left.bus, left.device, left.function)
      < (right.domain, right.bus, right.device, right.function)
  }
}

extension PCIAddress: LosslessStringConvertible {
  /// The kernel's `%04x:%02x:%02x.%d`, as sysfs names directories.
  public var description: String {
    hexadecimal(UInt64(domain), digits: 4) + ":" + slotDescription + ".\(function)"
  }

  /// `01:00`: bus and device, as `/sys/bus/pci/slots/*/address` ends.
  private var slotDescription: String {
    hexadecimal(UInt64(bus), digits: 2) + ":" + hexadecimal(UInt64(device), digits: 2)
  }

  /// Parses `0000:01:00.0`, with a domain of 4 to 8 digits, and `01:00.0` of domain 0. Digits may be
  /// of either case. Nil for anything else.
  public init?(_ description: String) {
    var fields = description.split(separator: ":", omittingEmptySubsequences: false)
    let ending = fields.popLast()?.split(separator: ".", omittingEmptySubsequences: false) ?? []
    guard fields.count == 1 || fields.count == 2, ending.count == 2,
      let bus = Self.number(fields[fields.count - 1], digits: 2...2),
      let device = Self.number(ending[0], digits: 2...2),
      let function = Self.number(ending[1], digits: 1...1),
      let domain = fields.count == 1 ? 0 : Self.number(fields[0], digits: 4...8)
    else { return nil }
    self.init(
      domain: domain, bus: UInt8(truncatingIfNeeded: bus),
      device: UInt8(truncatingIfNeeded: device), function: UInt8(truncatingIfNeeded: function))
  }

  /// The value of so many hexadecimal digits, nil for anything else. At most 8 digits.
  private static func number(_ text: Substring, digits: ClosedRange<Int>) -> UInt32? {
    guard digits.contains(text.utf8.count), let value = parseHexadecimal("0x" + text) else {
      return nil
    }
    return UInt32(truncatingIfNeeded: value)
  }
}
