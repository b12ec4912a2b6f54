public import GenPool

/// What a controller says of itself: the Identify Controller data (NVMe 1.4 section 5.15.2.2).
public struct ControllerIdentity: Hashable, Sendable {
  /// PCI vendor and subsystem vendor.
  public let vendor: UInt16, subsystemVendor: UInt16
  /// Serial number, model and firmware revision, without the blanks that fill them.
  public let serial: String, model: String, firmware: String
  /// The most that one command moves (MDTS); nil for no limit.
  public let largestTransfer: ByteCount?
  /// The longest that a shutdown may take (RTD3E, in µs); nil when it does not say.
  public let shutdownLatency: Duration?
  /// How many namespaces it may have (NN).
  public let namespaces: UInt32

  /// Decodes the structure; nil when `bytes` are fewer than 4096.
  /// - Parameter smallestPage: CAP.MPSMIN, the unit of MDTS.
  public init?(_ bytes: [UInt8], smallestPage: ByteCount) {
    guard bytes.count >= 4096 else { return nil }
    vendor = UInt16(littleEndian: bytes, at: 0)
    subsystemVendor = UInt16(littleEndian: bytes, at: 2)
    serial = Self.text(bytes[4..<24])
    model = Self.text(bytes[24..<64])
    firmware = Self.text(bytes[64..<72])
    // MDTS: a power of two of pages, 0 for no limit. What passes 2^63 is none either.
    let exponent = UInt64(bytes[77])
    let room = UInt64(smallestPage.rawValue.leadingZeroBitCount)
    largestTransfer =
      exponent == 0 || exponent >= room ? nil : ByteCount(smallestPage.rawValue << exponent)
    let latency = UInt32(littleEndian: bytes, at: 88)
    shutdownLatency = latency == 0 ? nil : .microseconds(Int64(latency))
    namespaces = UInt32(littleEndian: bytes, at: 516)
  }

  /// Printable ASCII, other bytes as `?`.
  private static func text(_ bytes: ArraySlice<UInt8>) -> String {
    var text = String(
      decoding: bytes.map { 0x20...0x7e ~= $0 ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
    while text.last == " " { text.removeLast() }
    return text
  }
}

/// What a namespace is like: the Identify Namespace data (section 5.15.2.1).
public struct NamespaceIdentity: Hashable, Sendable {
  /// How many blocks it has (NSZE).
  public let blocks: UInt64
  /// How long a block is: a power of two from 512 bytes on.
  public let blockSize: ByteCount
  /// Metadata that goes with each block, in bytes: 0 on most.
  public let metadataSize: ByteCount

  /// Decodes the structure; nil when `bytes` are fewer than 4096, or name a block that cannot be.
  public init?(_ bytes: [UInt8]) {
    guard bytes.count >= 4096 else { return nil }
    blocks =
      UInt64(UInt32(littleEndian: bytes, at: 0))
      | UInt64(UInt32(littleEndian: bytes, at: 4)) << 32
    // FLBAS, bits 3:0: which of the formats from byte 128 on; each has MS, LBADS, RP.
    let format = 128 + 4 * Int(bytes[26] & 0xf)
    let exponent = UInt64(bytes[format + 2])
    guard 9...31 ~= exponent else { return nil }
    blockSize = ByteCount(1 << exponent)
    metadataSize = ByteCount(UInt64(UInt16(littleEndian: bytes, at: format)))
  }
}

extension FixedWidthInteger where Self: UnsignedInteger {
  /// The number that starts at `offset` of `bytes`.
  fileprivate init(littleEndian bytes: [UInt8], at offset: Int) {
    self = (0..<(Self.bitWidth / 8)).reduce(0) { $0 | Self(bytes[offset + $1]) << Self(8 * $1) }
  }
}
