import GenPool

/// The list of a device's capabilities, and what of it genpool reads: where registers lie in BARs.
/// PCI 3.0 section 6.7.
struct Capabilities {
  /// The blocks of registers that capabilities name, by place.
  private(set) var registers: [RegisterBlock] = []

  /// More than fit into the 256 bytes: a list that is longer has a loop.
  private static let limit = 48
  private static let msix: UInt8 = 0x11
  private static let vendorSpecific: UInt8 = 0x09
  /// The vendor whose own capabilities are virtio's.
  private static let virtio: UInt16 = 0x1af4

  /// Reads the list that `header` starts, from the file it was read from: only what is in the list,
  /// because some devices fail when other parts are read. The kernel shows what lies behind the
  /// header to root only.
  /// - Parameter vendor: the device's, which a virtual function's header does not have.
  /// - Returns: nil where the file ends before the list.
  init?(of header: ConfigSpace, vendor: UInt16, in config: SysfsNode) throws(DeviceError) {
    guard var offset = header.firstCapability else { return }
    let file = try config.opened()
    for _ in 0..<Self.limit where offset >= ConfigSpace.headerLength {
      let bytes = try file.bytes(at: offset, count: 2)
      guard bytes.count == 2 else { return nil }
      let (id, next) = (bytes[0], bytes[1])
      if id == Self.msix || id == Self.vendorSpecific && vendor == Self.virtio {
        let capability = CapabilityBytes(
          try file.bytes(at: offset, count: id == Self.msix ? 12 : 16))
        if id == Self.msix { addMessageInterrupts(capability) } else { addVirtio(capability) }
      }
      offset = Int(next & ~0x3)
    }
    registers.sort { ($0.bar, $0.range.lowerBound) < ($1.bar, $1.range.lowerBound) }
  }

  /// MSI-X: a table of 16 bytes for each interrupt, and a bit for each that is pending.
  /// PCI 3.0 section 6.8.2.
  private mutating func addMessageInterrupts(_ capability: CapabilityBytes) {
    let count = UInt64(capability.word(2) & 0x7ff) + 1
    add("MSI-X table", at: capability.doubleWord(4), size: count * 16)
    add("pending bits of MSI-X", at: capability.doubleWord(8), size: (count + 63) / 64 * 8)
  }

  /// The low three bits of `place` are the BAR's number.
  private mutating func add(_ name: String, at place: UInt32, size: UInt64) {
    guard let bar = BAR.Index(Int(place & 0x7)) else { return }
    let start = UInt64(place & ~0x7)
    registers.append(RegisterBlock(name: name, bar: bar, range: start..<(start + size)))
  }

  /// The structures of a virtio device, but for shared memory, which is memory.
  /// VIRTIO 1.2 section 4.1.4.
  private mutating func addVirtio(_ capability: CapabilityBytes) {
    let names: [UInt8: String] = [
      1: "virtio's common configuration", 2: "virtio's notifications",
      3: "virtio's interrupt status", 4: "virtio's configuration of the device",
    ]
    guard let name = names[capability.byte(3)], let bar = BAR.Index(Int(capability.byte(4)))
    else { return }
    let start = UInt64(capability.doubleWord(8))
    let size = UInt64(capability.doubleWord(12))
    guard size > 0 else { return }
    registers.append(RegisterBlock(name: name, bar: bar, range: start..<(start + size)))
  }
}

/// The bytes of one capability, little-endian. Reads zeros behind the end of configuration space.
private struct CapabilityBytes {
  private let bytes: [UInt8]

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
  }

  func byte(_ offset: Int) -> UInt8 { offset < bytes.count ? bytes[offset] : 0 }

  func word(_ offset: Int) -> UInt16 { UInt16(byte(offset)) | UInt16(byte(offset + 1)) << 8 }

  func doubleWord(_ offset: Int) -> UInt32 {
    UInt32(word(offset)) | UInt32(word(offset + 2)) << 16
  }
}
