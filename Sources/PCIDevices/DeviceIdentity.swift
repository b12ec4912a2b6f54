import GenPool

/// Who made a device and which one it is: PCI 3.0 section 6.2.1, offsets 00h and 02h.
public struct DeviceIdentity: Hashable, Sendable {
  /// The vendor, as assigned by the PCI-SIG.
  public let vendor: UInt16
  /// The device, as assigned by its vendor.
  public let device: UInt16

  public init(vendor: UInt16, device: UInt16) {
    self.vendor = vendor
    self.device = device
  }
}

extension DeviceIdentity: LosslessStringConvertible {
  /// `1b36:0010`, as `lspci -n` prints it.
  public var description: String {
    hexadecimal(UInt64(vendor), digits: 4) + ":" + hexadecimal(UInt64(device), digits: 4)
  }

  /// Parses `1b36:0010`: two times four hexadecimal digits. Nil for anything else.
  public init?(_ description: String) {
    let fields = description.split(separator: ":", omittingEmptySubsequences: false)
    guard fields.count == 2, fields.allSatisfy({ $0.utf8.count == 4 }),
      let vendor = parseHexadecimal("0x" + fields[0]),
      let device = parseHexadecimal("0x" + fields[1])
    else { return nil }
    self.init(
      vendor: UInt16(truncatingIfNeeded: vendor), device: UInt16(truncatingIfNeeded: device))
  }
}

/// What a device is for: base class, subclass and programming interface. PCI 3.0 section 6.2.1,
/// offset 09h; the numbers are those of the PCI Code and ID Assignment Specification.
public struct ClassCode: Hashable, Sendable {
  /// All 24 bits, as the `class` attribute shows them.
  public let rawValue: UInt32

  /// The low 24 bits of `rawValue`.
  public init(_ rawValue: UInt32) {
    self.rawValue = rawValue & 0xff_ffff
  }

  /// The base class: 0x01 storage, 0x02 network, 0x03 display, 0x05 memory, 0x06 bridge, ….
  public var base: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 16) }
  /// The subclass within the base class.
  public var subclass: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 8) }
  /// The register-level interface, 0x02 of storage/non-volatile being NVM Express.
  public var interface: UInt8 { UInt8(truncatingIfNeeded: rawValue) }

  /// An NVMe controller (I/O controller: PCI Code and ID Assignment 1.11, section 1.2).
  package static let nvme = ClassCode(0x010802)

  /// Whether BAR 0 holds the registers of an NVMe controller, an administrative one (03h) included.
  package var hasNVMeRegisters: Bool { self == .nvme || rawValue == 0x010803 }

  package var isStorage: Bool { base == 0x01 }
  package var isNetwork: Bool { base == 0x02 }
  package var isDisplay: Bool { base == 0x03 }
  /// Whether it is a display controller of a kind that need not show anything: 3D controllers, and
  /// other ones. Compute accelerators are of these.
  package var isAccelerator: Bool { isDisplay && (subclass == 0x02 || subclass == 0x80) }
  package var isBridge: Bool { base == 0x06 }
}

extension ClassCode: CustomStringConvertible {
  /// `0x010802`.
  public var description: String { "0x" + hexadecimal(UInt64(rawValue), digits: 6) }
}
