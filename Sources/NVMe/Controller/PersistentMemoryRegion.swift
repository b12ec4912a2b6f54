public import DeviceDMA
public import GenPool
public import PCIDevices

/// What a persistent memory region is like: PMRCAP, offset E00h (NVMe 1.4 section 3.1.23). It fills
/// its BAR.
public struct PMRCapabilities: Hashable, Sendable {
  /// The BAR that it is (BIR): 0 or 2 … 5.
  public let bar: BAR.Index
  /// What the controller can keep in it: read data (RDS), write data (WDS), or neither.
  public let uses: MemoryUses
  /// The longest that becoming ready and becoming not ready may take (PMRTO, in PMRTU: 500 ms or 1
  /// min).
  public let timeout: Duration
  /// How writes are made to last (PMRWBM).
  public let barriers: Barriers
  /// Whether the controller's own commands can name it, by a base address of the host's (CMSS).
  public let hasMemorySpace: Bool

  /// What completes a write: bits 13:10.
  public struct Barriers: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32

    /// The low four bits of `rawValue`.
    public init(rawValue: UInt32) {
      self.rawValue = rawValue & 0xf
    }

    /// A read of the region completes all writes before it.
    public static let memoryRead = Self(rawValue: 1 << 0)
    /// A read of PMRSTS does.
    public static let statusRead = Self(rawValue: 1 << 1)
  }

  /// Decodes the register.
  /// - Throws: for a BIR that is no BAR, or reserved; for a reserved unit of time.
  public init(rawValue: UInt32) throws(RegisterProblem) {
    let number = Int(rawValue.bits(7, 5))
    guard number != 1, let bar = BAR.Index(number) else {
      throw RegisterProblem("PMRCAP", rawValue, "BIR \(number) is reserved")
    }
    let count = Int(rawValue.bits(23, 16))
    switch rawValue.bits(9, 8) {
    case 0: timeout = .milliseconds(500 * count)
    case 1: timeout = .seconds(60 * count)
    case let unit: throw RegisterProblem("PMRCAP", rawValue, "PMRTU \(unit) is reserved")
    }
    self.bar = bar
    // RDS and WDS are bits 3 and 4, as in CMBSZ.
    uses = MemoryUses(rawValue: rawValue).intersection([.readData, .writeData])
    barriers = Barriers(rawValue: rawValue.bits(13, 10))
    hasMemorySpace = rawValue.bit(24)
  }
}

/// How a persistent memory region fares: PMRSTS, offset E08h (section 3.1.25).
public struct PMRStatus: Hashable, Sendable {
  /// The register.
  public let rawValue: UInt32

  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  /// A number of the vendor's, 0 when nothing went wrong (ERR).
  public var error: UInt8 { UInt8(rawValue.bits(7, 0)) }
  /// Whether reads and writes are processed (NRDY clear).
  public var isReady: Bool { !rawValue.bit(8) }
  /// Its health (HSTS).
  public var health: Health { Health(rawValue: rawValue.bits(11, 9)) ?? .reserved }
  /// Whether the base address was refused (CBAI).
  public var isBaseInvalid: Bool { rawValue.bit(12) }

  /// What HSTS says.
  public enum Health: UInt32, Sendable {
    case normal = 0
    /// What was in it could not be brought back at the last power-on.
    case contentNotRestored = 1
    /// Writes do not last.
    case readOnly = 2
    /// It has lost power protection, or the medium fails.
    case unreliable = 3
    /// No meaning.
    case reserved = 7
  }
}

/// The size of the buffer that writes pass through: PMREBS, offset E0Ch (section 3.1.26).
public struct PMRElasticity: Hashable, Sendable {
  /// The buffer's size (PMRWBZ in PMRSZU: bytes, KiB, MiB, GiB); zero when there is none.
  public let size: ByteCount
  /// Whether a read bypasses it, so that a write may be seen late (RBB).
  public let readsBypass: Bool

  /// Decodes the register.
  /// - Throws: for a unit that is reserved.
  public init(rawValue: UInt32) throws(RegisterProblem) {
    size = try ByteCount(scaled: rawValue, "PMREBS")
    readsBypass = rawValue.bit(4)
  }
}

/// How many bytes a second can be written for long: PMRSWTP, offset E10h (section 3.1.27).
public struct PMRThroughput: Hashable, Sendable {
  /// Bytes a second (PMRSWTV in PMRSWTU); zero when the controller does not say.
  public let bytesPerSecond: ByteCount

  /// Decodes the register.
  /// - Throws: for a unit that is reserved.
  public init(rawValue: UInt32) throws(RegisterProblem) {
    bytesPerSecond = try ByteCount(scaled: rawValue, "PMRSWTP")
  }
}

extension ByteCount {
  /// Bits 31:8, in the unit of bits 3:0: bytes, KiB, MiB, GiB. Below 2^54.
  fileprivate init(scaled rawValue: UInt32, _ register: String) throws(RegisterProblem) {
    let unit = UInt64(rawValue.bits(3, 0))
    guard unit <= 3 else {
      throw RegisterProblem(register, rawValue, "the unit \(unit) is reserved")
    }
    self.init(UInt64(rawValue.bits(31, 8)) << (10 * unit))
  }
}

/// The base address of a persistent memory region for the controller's own commands: PMRMSCL and
/// PMRMSCU, offsets E14h and E18h (sections 3.1.28, 3.1.29).
public struct PMRControl: Hashable, Sendable {
  /// Both registers, the upper one in the upper half.
  public let rawValue: UInt64

  public init(rawValue: UInt64) {
    self.rawValue = rawValue
  }

  /// Enabled, the controller calling its region by bus addresses from `base` on.
  /// - Returns: nil unless `base` is a multiple of 4 KiB.
  public static func enabled(at base: BusAddress) -> Self? {
    guard base.isAligned(to: 4096) else { return nil }
    return Self(rawValue: base.rawValue | 2)
  }

  /// Whether the controller's own commands can name the region (CMSE).
  public var isEnabled: Bool { rawValue.bit(1) }
  /// The address by which they do (CBA).
  public var base: BusAddress { BusAddress(rawValue & ~0xfff) }
}
