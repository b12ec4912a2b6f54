public import GenPool

/// The standard header of a device's configuration space: its first 64 bytes, which is what the
/// `config` file shows to everyone. PCI 3.0 section 6.1; numbers are little-endian.
public struct ConfigSpace: Hashable, Sendable {
  /// The header's length in bytes.
  package static let headerLength = 64
  /// Where the COMMAND register is, in bytes from the start.
  package static let commandOffset: ByteCount = 0x04

  /// Exactly ``headerLength`` bytes.
  private let bytes: [UInt8]

  /// The header that `bytes` start with; nil when there are fewer than 64.
  public init?(_ bytes: [UInt8]) {
    guard bytes.count >= Self.headerLength else { return nil }
    self.bytes = Array(bytes.prefix(Self.headerLength))
  }

  /// Who the device says it is, offset 00h. All-ones when nobody answers, and for the virtual
  /// functions of SR-IOV (SR-IOV 1.1 section 3.4.1.1).
  public var identity: DeviceIdentity {
    DeviceIdentity(vendor: word(0x00), device: word(0x02))
  }

  /// The COMMAND register, offset 04h.
  public var command: Command { Command(rawValue: word(Int(Self.commandOffset.rawValue))) }

  /// The class, subclass and programming interface, offset 09h.
  package var classCode: ClassCode {
    ClassCode(UInt32(bytes[0x09]) | UInt32(word(0x0a)) << 8)
  }

  /// The revision, offset 08h.
  package var revision: UInt8 { bytes[0x08] }

  /// The maker and the model of the board, offset 2Ch; nil in a bridge's header.
  package var subsystem: DeviceIdentity? {
    headerType == 0 ? DeviceIdentity(vendor: word(0x2c), device: word(0x2e)) : nil
  }

  /// The offset of the first capability, in bytes; nil when there is none. STATUS bit 4 and offset
  /// 34h; PCI 3.0 section 6.7.
  package var firstCapability: Int? {
    guard word(0x06) & 1 << 4 != 0, headerType < 2 else { return nil }
    let offset = Int(bytes[0x34] & ~0x3)
    return offset >= Self.headerLength ? offset : nil
  }

  /// The header's layout, offset 0Eh without the multi-function bit: 0 device, 1 bridge, 2 CardBus.
  public var headerType: UInt8 { bytes[0x0e] & 0x7f }

  /// Whether the header reads as all-ones, as it does when the device is gone. The header type tells,
  /// since no layout has that number, and it is implemented even where ids are not.
  public var isAllOnes: Bool { bytes[0x0e] == 0xff && command.rawValue == 0xffff }

  /// How many BARs the layout has room for.
  private var barCount: Int {
    switch headerType {
    case 0: 6
    case 1: 2
    case 2: 1
    default: 0
    }
  }

  /// The content of the BAR register; nil where this layout has none, or the second half of a
  /// 64-bit one is missing. Whether it was assigned it does not say: 0 is a bus address like any
  /// other. Offset 10h + 4 × index; PCI 3.0 section 6.2.5.1.
  public subscript(_ index: BAR.Index) -> Register? {
    guard index.rawValue < barCount else { return nil }
    let offset = 0x10 + 4 * index.rawValue
    let low = doubleWord(offset)
    guard low & 1 == 0 else {
      return Register(
        bus: BusAddress(UInt64(low & ~0x3)), isIO: true, is64Bit: false, isPrefetchable: false)
    }
    var address = UInt64(low & ~0xf)
    let is64Bit = low >> 1 & 0x3 == 2
    if is64Bit {
      guard index.rawValue + 1 < barCount else { return nil }
      address |= UInt64(doubleWord(offset + 4)) << 32
    }
    return Register(
      bus: BusAddress(address), isIO: false, is64Bit: is64Bit, isPrefetchable: low & 8 != 0)
  }

  /// The memory window of a bridge, in bus addresses: offsets 20h to 2Fh; nil while it is closed, and
  /// in another layout than a bridge's. PCI-to-PCI Bridge 1.2 sections 3.2.5.8 to 3.2.5.10.
  package func window(isPrefetchable: Bool) -> AddressRange<BusSpace>? {
    guard headerType == 1 else { return nil }
    let (base, limit) = isPrefetchable ? (0x24, 0x26) : (0x20, 0x22)
    var first = UInt64(word(base) & ~0xf) << 16
    var last = UInt64(word(limit) & ~0xf) << 16 | 0xf_ffff
    if isPrefetchable && word(base) & 0xf == 1 {
      first |= UInt64(doubleWord(0x28)) << 32
      last |= UInt64(doubleWord(0x2c)) << 32
    }
    guard first <= last, last < .max else { return nil }
    return AddressRange(start: BusAddress(first), size: ByteCount(last - first + 1))
  }

  private func word(_ offset: Int) -> UInt16 {
    UInt16(bytes[offset]) | UInt16(bytes[offset + 1]) << 8
  }

  private func doubleWord(_ offset: Int) -> UInt32 {
    UInt32(word(offset)) | UInt32(word(offset + 2)) << 16
  }
}

extension ConfigSpace {
  /// A BAR register as the device decodes it.
  public struct Register: Hashable, Sendable {
    /// The bus address at which the device answers; a port number when ``isIO``.
    public let bus: BusAddress
    /// Whether it decodes I/O ports rather than memory.
    public let isIO: Bool
    /// Whether it takes up two registers and can lie above 4 GiB.
    public let is64Bit: Bool
    /// Whether reading has no side effects, so that the CPU may combine and read ahead.
    public let isPrefetchable: Bool
  }

  /// The COMMAND register: what a device may do. PCI 3.0 section 6.2.2.
  public struct Command: OptionSet, Hashable, Sendable {
    public let rawValue: UInt16

    public init(rawValue: UInt16) {
      self.rawValue = rawValue
    }

    /// The device answers at its I/O BARs.
    public static let ioSpace = Self(rawValue: 1 << 0)
    /// The device answers at its memory BARs. Without it reads return all-ones.
    public static let memorySpace = Self(rawValue: 1 << 1)
    /// The device may do DMA and send message interrupts.
    public static let busMaster = Self(rawValue: 1 << 2)
  }
}
