public import GenPool

extension Broker1 {
  /// A PCI device. The interface's `Device`.
  public struct Device: Codable, Sendable, Equatable {
    /// `0000:01:00.0`.
    public var address: String
    public var vendorID: UInt16
    public var deviceID: UInt16
    /// Class, subclass and programming interface: 24 bits.
    public var classCode: UInt32
    public var className: String?
    public var name: String?
    public var driver: String?
    public var iommuGroup: Int?
    public var numaNode: Int?
    /// `D0`, `D3hot`, ….
    public var powerState: String?
    public var bars: [BAR]

    public init(
      address: String, vendorID: UInt16, deviceID: UInt16, classCode: UInt32,
      className: String? = nil, name: String? = nil, driver: String? = nil, iommuGroup: Int? = nil,
      numaNode: Int? = nil, powerState: String? = nil, bars: [BAR] = []
    ) {
      self.address = address
      self.vendorID = vendorID
      self.deviceID = deviceID
      self.classCode = classCode
      self.className = className
      self.name = name
      self.driver = driver
      self.iommuGroup = iommuGroup
      self.numaNode = numaNode
      self.powerState = powerState
      self.bars = bars
    }
  }

  /// A base address register that has been assigned. The interface's `BAR`.
  public struct BAR: Codable, Sendable, Equatable {
    /// 0 … 5.
    public var index: Int
    public var physical: PhysicalAddress
    public var bus: BusAddress?
    public var size: ByteCount
    /// `memory` or `io`.
    public var kind: String
    public var prefetchable: Bool
    public var width64: Bool

    public init(
      index: Int, physical: PhysicalAddress, bus: BusAddress?, size: ByteCount, kind: String,
      prefetchable: Bool, width64: Bool
    ) {
      self.index = index
      self.physical = physical
      self.bus = bus
      self.size = size
      self.kind = kind
      self.prefetchable = prefetchable
      self.width64 = width64
    }
  }

  /// A rule that refused to attach. The interface's `Refusal`.
  public struct Refusal: Codable, Sendable, Equatable {
    /// The rule's name, as `allow` takes it.
    public var rule: String
    /// What it looked at.
    public var subject: String
    /// What it found.
    public var cause: String
    /// How to meet the rule, if there is a way.
    public var cure: String?

    public init(rule: String, subject: String, cause: String, cure: String? = nil) {
      self.rule = rule
      self.subject = subject
      self.cause = cause
      self.cure = cure
    }
  }
}
