public import DeviceDMA
public import GenPool
public import PCIDevices

/// Where a controller memory buffer starts: CMBLOC, offset 38h (NVMe 1.4 section 3.1.11).
///
/// The offset is counted in units that only ``CMBSize`` tells.
public struct CMBLocation: Hashable, Sendable {
  /// The BAR that it is in (BIR): 0 or 2 … 5.
  public let bar: BAR.Index
  /// How many units it starts after the BAR's start (OFST): below 2^20.
  public let offset: UInt32
  /// Bits 8:3, how freely queues, lists and data may be mixed and placed.
  public let rules: Rules

  /// What need not be as the specification's stricter rules want it (section 4.7; bits 8:3, since
  /// 1.4). Where a bit is clear its rule holds, as all of them do before 1.4.
  public struct Rules: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32

    /// The rules whose bits `rawValue` has, others ignored.
    public init(rawValue: UInt32) {
      self.rawValue = rawValue & 0x1f8
    }

    /// A queue may be partly in the buffer (CQMMS).
    public static let mixedQueues = Self(rawValue: 1 << 3)
    /// A queue in the buffer need not be contiguous (CQPDS).
    public static let scatteredQueues = Self(rawValue: 1 << 4)
    /// One command's PRP list or SGL may be partly in the buffer (CDPMLS).
    public static let mixedLists = Self(rawValue: 1 << 5)
    /// Lists may be in the buffer with their command elsewhere (CDPCILS).
    public static let listsApartFromCommand = Self(rawValue: 1 << 6)
    /// One command's data and metadata may be partly in the buffer (CDMMMS).
    public static let mixedData = Self(rawValue: 1 << 7)
    /// A contiguous queue in the buffer may start at any doubleword, not only at a page (CQDA).
    public static let unalignedQueues = Self(rawValue: 1 << 8)

    /// The rules and what they allow, in the order of their bits.
    private static let names: [(rule: Self, words: String)] = [
      (.mixedQueues, "a queue partly in it (CQMMS)"),
      (.scatteredQueues, "queues in pieces (CQPDS)"),
      (.mixedLists, "a list partly in it (CDPMLS)"),
      (.listsApartFromCommand, "lists of commands that are elsewhere (CDPCILS)"),
      (.mixedData, "a command's data partly in it (CDMMMS)"),
      (.unalignedQueues, "queues at any doubleword (CQDA)"),
    ]

    /// What each rule that is in the set allows.
    public var words: [String] {
      Self.names.compactMap { contains($0.rule) ? $0.words : nil }
    }
  }

  /// Decodes the register.
  /// - Throws: for a BIR that is no BAR, or reserved.
  public init(rawValue: UInt32) throws(RegisterProblem) {
    let number = Int(rawValue.bits(2, 0))
    guard number != 1, let bar = BAR.Index(number) else {
      throw RegisterProblem("CMBLOC", rawValue, "BIR \(number) is reserved")
    }
    self.bar = bar
    offset = rawValue.bits(31, 12)
    rules = Rules(rawValue: rawValue)
  }
}

/// How long a controller memory buffer is and what for: CMBSZ, offset 3Ch (section 3.1.12).
public struct CMBSize: Hashable, Sendable {
  /// What the controller can keep in it.
  public let uses: MemoryUses
  /// The unit of sizes and offsets (SZU): 4 KiB × 16^n for n from 0 to 6, up to 64 GiB.
  public let unit: ByteCount
  /// How many units it is long (SZ): below 2^20. 0 when there is no buffer.
  public let count: UInt32

  /// Decodes the register.
  /// - Throws: for a unit that is reserved.
  public init(rawValue: UInt32) throws(RegisterProblem) {
    let exponent = UInt64(rawValue.bits(11, 8))
    guard exponent <= 6 else {
      throw RegisterProblem("CMBSZ", rawValue, "SZU \(exponent) is reserved")
    }
    uses = MemoryUses(rawValue: rawValue)
    unit = ByteCount(4096 << (4 * exponent))
    count = rawValue.bits(31, 12)
  }

  /// How long it is, in bytes: below 2^56.
  public var size: ByteCount { unit * UInt64(count) }
}

/// Control of a controller memory buffer: CMBMSC, offset 50h (section 3.1.14; since 1.4).
public struct CMBControl: Hashable, Sendable {
  /// The register.
  public let rawValue: UInt64

  public init(rawValue: UInt64) {
    self.rawValue = rawValue
  }

  /// CMBLOC and CMBSZ can be read; the controller does not answer for the buffer yet.
  public static let registersOnly = Self(rawValue: 1)

  /// Enabled, the controller calling its buffer by bus addresses from `base` on.
  /// - Returns: nil unless `base` is a multiple of 4 KiB.
  public static func enabled(at base: BusAddress) -> Self? {
    guard base.isAligned(to: 4096) else { return nil }
    return Self(rawValue: base.rawValue | 3)
  }

  /// Whether CMBLOC and CMBSZ can be read (CRE).
  public var showsRegisters: Bool { rawValue.bit(0) }
  /// Whether the controller's own commands can name the buffer (CMSE).
  public var isEnabled: Bool { rawValue.bit(1) }
  /// The address by which they do (CBA).
  public var base: BusAddress { BusAddress(rawValue & ~0xfff) }
}

/// How a controller memory buffer fares: CMBSTS, offset 58h (section 3.1.15; since 1.4).
public struct CMBStatus: Hashable, Sendable {
  /// The register.
  public let rawValue: UInt32

  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  /// Whether the base address was refused (CBAI).
  public var isBaseInvalid: Bool { rawValue.bit(0) }
}
