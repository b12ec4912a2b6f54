import GenPool

/// The list of a device's capabilities, and what of it genpool reads: where registers lie in BARs.
/// PCI 3.0 section 6.7, PCIe 4.0 section 7.6.
struct Capabilities {
  /// The blocks of registers that capabilities name, by place.
  private(set) var registers: [RegisterBlock] = []

  private static let express: UInt8 = 0x10
  private static let msix: UInt8 = 0x11
  private static let vendorSpecific: UInt8 = 0x09
  /// The vendor whose own capabilities are virtio's.
  private static let virtio: UInt16 = 0x1af4

  /// Reads the list that `header` starts, from the file it was read from: only what is in the list,
  /// because some devices fail when other parts are read. The kernel shows what lies behind the
  /// header to root only.
  /// - Parameter vendor: the device's, which a virtual function's header does not have.
  /// - Returns: nil where the file ends before the list, and of a list that has a loop.
  init?(of header: ConfigSpace, vendor: UInt16, in config: SysfsNode) throws(DeviceError) {
    guard var offset = header.firstCapability else { return }
    let file = try config.opened()
    var seen: Set<Int> = []
    var isExpress = false
    while offset >= ConfigSpace.headerLength {
      let bytes = try file.bytes(at: offset, count: 2)
      // All-ones are no capability, but the answer of a part that cannot be read.
      guard bytes.count == 2, bytes[0] != 0xff, seen.insert(offset).inserted else { return nil }
      let (id, next) = (bytes[0], bytes[1])
      if id == Self.express { isExpress = true }
      if id == Self.msix || id == Self.vendorSpecific && vendor == Self.virtio {
        let capability = CapabilityBytes(
          try file.bytes(at: offset, count: id == Self.msix ? 12 : 16))
        if id == Self.msix { addMessageInterrupts(capability) } else { addVirtio(capability) }
      }
      offset = Int(next & ~0x3)
    }
    if isExpress {
      guard try addExtended(in: file) else { return nil }
    }
    registers.sort { ($0.bar, $0.range.lowerBound) < ($1.bar, $1.range.lowerBound) }
  }

  /// Reads the list of extended capabilities, from 100h on. Where the kernel does not reach that
  /// part the file ends before it, and nothing else reaches it either.
  /// - Returns: false for a list that has a loop or passes the file's end.
  private mutating func addExtended(in file: borrowing SysfsNode.OpenFile) throws(DeviceError)
    -> Bool
  {
    var offset = 0x100
    var seen: Set<Int> = []
    while offset >= 0x100 {
      let capability = CapabilityBytes(try file.bytes(at: offset, count: 12))
      let header = capability.doubleWord(0)
      // No list at all.
      if seen.isEmpty, capability.count == 0 || header == 0 || header == .max { return true }
      guard capability.count == 12, header != .max, seen.insert(offset).inserted else {
        return false
      }
      if header & 0xffff == Self.designated, capability.word(4) == Self.computeExpressLink,
        capability.word(8) == Self.registerLocator
      {
        let length = Int(capability.doubleWord(4) >> 20)
        addRegisterLocator(CapabilityBytes(try file.bytes(at: offset, count: length)))
      }
      offset = Int(header >> 20 & ~0x3)
    }
    return true
  }

  /// A capability of a vendor's own: DVSEC. PCIe 5.0 section 7.9.6.
  private static let designated: UInt32 = 0x23
  private static let computeExpressLink: UInt16 = 0x1e98
  private static let registerLocator: UInt16 = 8

  /// CXL: blocks of registers, each by a BAR and an offset in it. CXL 2.0 section 8.1.9.
  private mutating func addRegisterLocator(_ capability: CapabilityBytes) {
    let names: [UInt32: String] = [
      1: "CXL component registers", 2: "CXL BAR virtualization registers",
      3: "CXL memory device registers", 4: "CXL performance monitor registers",
    ]
    for entry in stride(from: 12, to: capability.count - 7, by: 8) {
      let low = capability.doubleWord(entry)
      let id = low >> 8 & 0xff
      // 0 is an empty entry.
      guard id != 0, let bar = BAR.Index(Int(low & 0x7)) else { continue }
      let start = UInt64(capability.doubleWord(entry + 4)) << 32 | UInt64(low & 0xffff_0000)
      guard start < 1 << 62 else { continue }
      // Blocks begin at multiples of 64 KiB. A memory device's are longer where its mailbox is,
      // which takes 1 MiB at most (section 8.2.8.4.3).
      let size: UInt64 = id == 3 ? 2 << 20 : 64 << 10
      registers.append(
        RegisterBlock(
          name: names[id] ?? "CXL registers (block \(id))", bar: bar,
          range: start..<(start + size)))
    }
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

  var count: Int { bytes.count }

  func byte(_ offset: Int) -> UInt8 { offset < bytes.count ? bytes[offset] : 0 }

  func word(_ offset: Int) -> UInt16 { UInt16(byte(offset)) | UInt16(byte(offset + 1)) << 8 }

  func doubleWord(_ offset: Int) -> UInt32 {
    UInt32(word(offset)) | UInt32(word(offset + 2)) << 16
  }
}
