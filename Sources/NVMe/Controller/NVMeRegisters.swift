public import DeviceMemory
public import GenPool

/// The registers that tell of an NVMe controller and its memory, as they were at one moment.
///
/// Raw numbers, so that a controller that makes no sense can be shown as well; ``ControllerMemory``
/// decodes and judges.
public struct NVMeRegisters: Hashable, Sendable {
  /// CAP.
  public let capabilities: ControllerCapabilities
  /// VS.
  public let version: NVMeVersion
  /// CC.
  public let configuration: ControllerConfiguration
  /// CSTS.
  public let status: ControllerStatus
  /// CMBLOC and CMBSZ, both 0 where there is no buffer, or while a 1.4 controller hides it.
  public let bufferLocation: UInt32, bufferSize: UInt32
  /// CMBMSC and CMBSTS; nil without CAP.CMBS, when there are no such registers.
  public let bufferControl: CMBControl?, bufferStatus: CMBStatus?
  /// PMRCAP and its neighbours; nil without CAP.PMRS.
  public let persistentRegion: PersistentRegion?

  /// The registers of a persistent memory region.
  public struct PersistentRegion: Hashable, Sendable {
    /// PMRCAP.
    public let capabilities: UInt32
    /// PMRCTL bit 0, EN.
    public let isEnabled: Bool
    /// PMRSTS.
    public let status: PMRStatus
    /// PMREBS and PMRSWTP.
    public let elasticity: UInt32, throughput: UInt32
    /// PMRMSCL and PMRMSCU.
    public let control: PMRControl
  }

  /// Where the registers are, in bytes from the start of BAR 0.
  package enum Offset {
    package static let capabilities: ByteCount = 0x00, version: ByteCount = 0x08
    package static let configuration: ByteCount = 0x14, status: ByteCount = 0x1c
    package static let adminQueueAttributes: ByteCount = 0x24
    package static let adminSubmissionQueue: ByteCount = 0x28
    package static let adminCompletionQueue: ByteCount = 0x30
    package static let bufferLocation: ByteCount = 0x38, bufferSize: ByteCount = 0x3c
    package static let bufferControl: ByteCount = 0x50, bufferStatus: ByteCount = 0x58
    package static let regionCapabilities: ByteCount = 0xe00, regionEnable: ByteCount = 0xe04
    package static let regionStatus: ByteCount = 0xe08, regionElasticity: ByteCount = 0xe0c
    package static let regionThroughput: ByteCount = 0xe10, regionControl: ByteCount = 0xe14
    package static let doorbells: ByteCount = 0x1000
  }

  /// Reads each register once. 64-bit registers are read in halves, which every controller can do.
  /// - Parameter load: the 32 bits at an offset from the start of BAR 0.
  public init<Failure: Error>(
    load: (ByteCount) throws(Failure) -> UInt32
  ) throws(Failure) {
    func load64(_ offset: ByteCount) throws(Failure) -> UInt64 {
      UInt64(try load(offset)) | UInt64(try load(offset + 4)) << 32
    }
    let capabilities = ControllerCapabilities(rawValue: try load64(Offset.capabilities))
    self.capabilities = capabilities
    version = NVMeVersion(rawValue: try load(Offset.version))
    configuration = ControllerConfiguration(rawValue: try load(Offset.configuration))
    status = ControllerStatus(rawValue: try load(Offset.status))
    bufferLocation = try load(Offset.bufferLocation)
    bufferSize = try load(Offset.bufferSize)
    // What is not announced may be anything: before 1.4 these offsets were reserved.
    if capabilities.hasControllerMemoryBuffer {
      bufferControl = CMBControl(rawValue: try load64(Offset.bufferControl))
      bufferStatus = CMBStatus(rawValue: try load(Offset.bufferStatus))
    } else {
      bufferControl = nil
      bufferStatus = nil
    }
    guard capabilities.hasPersistentMemoryRegion else {
      persistentRegion = nil
      return
    }
    persistentRegion = PersistentRegion(
      capabilities: try load(Offset.regionCapabilities),
      isEnabled: try load(Offset.regionEnable).bit(0),
      status: PMRStatus(rawValue: try load(Offset.regionStatus)),
      elasticity: try load(Offset.regionElasticity),
      throughput: try load(Offset.regionThroughput),
      control: PMRControl(rawValue: try load64(Offset.regionControl)))
  }

  /// The registers in `bytes`, which BAR 0 starts with; nil when there are fewer than 4 KiB.
  public init?(_ bytes: [UInt8]) {
    guard bytes.count >= 0x1000 else { return nil }
    self.init { offset in
      let index = Int(offset.rawValue)
      return (0..<4).reduce(0) { $0 | UInt32(bytes[index + $1]) << (8 * UInt32($1)) }
    }
  }

  /// The registers in a mapping of BAR 0, which may be read-only.
  /// - Throws: when it is shorter than 4 KiB or, with ``FaultGuard``, when it does not answer.
  public init(reading mapping: borrowing Mapping) throws(DeviceFault) {
    // Not a closure: it would have to capture a borrowed mapping.
    var words: [UInt32] = []
    words.reserveCapacity(Self.words.count)
    for offset in Self.words { words.append(try mapping.load(at: offset)) }
    self.init { offset in
      Self.words.firstIndex(of: offset).map { words[$0] } ?? 0
    }
  }

  /// The offsets of all words that ``init(load:)`` may ask for.
  private static let words: [ByteCount] =
    [0x00, 0x04, 0x08, 0x14, 0x1c, 0x38, 0x3c, 0x50, 0x54, 0x58]
    + [0xe00, 0xe04, 0xe08, 0xe0c, 0xe10, 0xe14, 0xe18]
}
