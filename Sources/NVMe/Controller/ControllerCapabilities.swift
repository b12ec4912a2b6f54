public import GenPool

/// What a controller can do: CAP, offset 00h (NVMe 1.4 section 3.1.1).
public struct ControllerCapabilities: Hashable, Sendable {
  /// The register. Any value is legal but all-ones, which is a device that does not answer.
  public let rawValue: UInt64

  public init(rawValue: UInt64) {
    self.rawValue = rawValue
  }

  /// How many entries a queue may have (MQES, which counts from 0): 1 … 65,536. The specification
  /// wants at least 2.
  public var queueEntries: Int { Int(rawValue.bits(15, 0)) + 1 }
  /// Whether queues must be physically contiguous (CQR).
  public var needsContiguousQueues: Bool { rawValue.bit(16) }
  /// The longest that becoming ready and becoming not ready may take (TO, 500 ms units).
  public var timeout: Duration { .milliseconds(500 * Int(rawValue.bits(31, 24))) }
  /// The distance between two doorbells (DSTRD): 4 bytes … 128 KiB.
  public var doorbellStride: ByteCount { ByteCount(4 << rawValue.bits(35, 32)) }
  /// Whether there is a reset of the whole NVM subsystem (NSSRS).
  public var hasSubsystemReset: Bool { rawValue.bit(36) }
  /// Whether it has the NVM command set (CSS, bit 0 of the field): reads and writes.
  public var hasNVMCommands: Bool { rawValue.bit(37) }
  /// The smallest page that the host may choose (MPSMIN): 4 KiB … 128 MiB.
  public var smallestPage: ByteCount { ByteCount(4096 << rawValue.bits(51, 48)) }
  /// The largest page that the host may choose (MPSMAX).
  public var largestPage: ByteCount { ByteCount(4096 << rawValue.bits(55, 52)) }
  /// Whether there is a persistent memory region (PMRS).
  public var hasPersistentMemoryRegion: Bool { rawValue.bit(56) }
  /// Whether there is a controller memory buffer of the 1.4 scheme (CMBS). One of the 1.2 scheme
  /// may be there without.
  public var hasControllerMemoryBuffer: Bool { rawValue.bit(57) }
  /// Whether the register was answered at all.
  public var isAnswer: Bool { rawValue != .max }
}

/// The version that a controller complies with: VS, offset 08h (section 3.1.2).
public struct NVMeVersion: Hashable, Sendable {
  /// The register.
  public let rawValue: UInt32

  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }
}

extension NVMeVersion: CustomStringConvertible {
  /// `1.4`, `1.2.1`.
  public var description: String {
    let tertiary = rawValue.bits(7, 0)
    return "\(rawValue.bits(31, 16)).\(rawValue.bits(15, 8))"
      + (tertiary == 0 ? "" : ".\(tertiary)")
  }
}

/// How the host runs a controller: CC, offset 14h (section 3.1.5).
public struct ControllerConfiguration: Hashable, Sendable {
  /// The register.
  public var rawValue: UInt32

  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  /// Enabled, with the NVM command set, pages of 4 KiB, round robin, entries of 64 and 16 bytes
  /// (IOSQES 6, IOCQES 4).
  public static let enabled = Self(rawValue: 1 | 6 << 16 | 4 << 20)

  /// Whether the controller is to process commands (EN).
  public var isEnabled: Bool {
    get { rawValue.bit(0) }
    set { rawValue = rawValue & ~1 | (newValue ? 1 : 0) }
  }

  /// The page that addresses in commands are given in (MPS).
  public var page: ByteCount { ByteCount(4096 << UInt64(rawValue.bits(10, 7))) }

  /// The same, with the notification that a normal shutdown is wanted (SHN 01b).
  public var withShutdown: Self { Self(rawValue: rawValue & ~(3 << 14) | 1 << 14) }
}

/// How a controller fares: CSTS, offset 1Ch (section 3.1.6).
public struct ControllerStatus: Hashable, Sendable {
  /// The register.
  public let rawValue: UInt32

  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  /// Whether it processes commands (RDY).
  public var isReady: Bool { rawValue.bit(0) }
  /// Whether it has met an error that only a reset ends (CFS).
  public var isFatal: Bool { rawValue.bit(1) }
  /// How far a shutdown is (SHST).
  public var shutdown: Shutdown { Shutdown(rawValue: rawValue.bits(3, 2)) ?? .reserved }
  /// Whether the register was answered at all: a device that is gone reads as all-ones.
  public var isAnswer: Bool { rawValue != .max }

  /// The progress of a shutdown.
  public enum Shutdown: UInt32, Sendable {
    /// None was asked for.
    case none = 0
    /// It is under way.
    case underway = 1
    /// It is complete: the power may go.
    case complete = 2
    /// No meaning.
    case reserved = 3
  }
}
