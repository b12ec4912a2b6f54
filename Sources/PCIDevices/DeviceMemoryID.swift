public import GenPool
package import OptionText

/// The name of device memory: which device, which of its memories, and which part of that.
///
/// Written `0000:01:00.0:2`, `01:00.0:cmb`, `0000:01:00.0:pmr,offset=1M,size=32M`: on command
/// lines, in the configuration, on the wire and in C alike. It opens nothing.
public struct DeviceMemoryID: Hashable, Sendable {
  /// The device.
  public var device: PCIAddress
  /// Which of its memories.
  public var part: Part
  /// The start of the piece, in bytes from the memory's start; a multiple of the page size.
  public var offset: ByteCount
  /// The length of the piece, in bytes, a multiple of the page size; nil for the rest.
  public var size: ByteCount?

  /// One of a device's memories.
  public enum Part: Hashable, Sendable {
    /// A BAR.
    case bar(BAR.Index)
    /// An NVMe controller's buffer (CMB), where its registers have it; enabled while it is open.
    case controllerMemoryBuffer
    /// An NVMe controller's persistent memory region (PMR), likewise.
    case persistentMemoryRegion
    /// An NVMe controller's registers.
    case registers
  }

  public init(
    device: PCIAddress, part: Part, offset: ByteCount = .zero, size: ByteCount? = nil
  ) {
    self.device = device
    self.part = part
    self.offset = offset
    self.size = size
  }
}

extension DeviceMemoryID.Part: LosslessStringConvertible {
  /// `2`, `cmb`, `pmr`, `registers`.
  public var description: String {
    switch self {
    case .bar(let index): index.description
    case .controllerMemoryBuffer: "cmb"
    case .persistentMemoryRegion: "pmr"
    case .registers: "registers"
    }
  }

  /// Parses `2` or `bar2`, `cmb`, `pmr`, `registers`; nil for anything else.
  public init?(_ description: String) {
    switch description {
    case "cmb": self = .controllerMemoryBuffer
    case "pmr": self = .persistentMemoryRegion
    case "registers": self = .registers
    default:
      let number = description.hasPrefix("bar") ? description.dropFirst(3) : description[...]
      guard let index = BAR.Index(String(number)) else { return nil }
      self = .bar(index)
    }
  }
}

extension DeviceMemoryID: LosslessStringConvertible {
  /// `0000:01:00.0:2,offset=1048576,size=33554432`, the piece in bytes where it is not all.
  public var description: String {
    var text = "\(device):\(part)"
    if offset != .zero { text += ",offset=\(offset.rawValue)" }
    if let size { text += ",size=\(size.rawValue)" }
    return text
  }

  /// Parses what ``description`` returns, sizes also like `32M` and `0x1000`. Nil for any other
  /// text.
  public init?(_ description: String) {
    do throws(InvalidOptionText) {
      var options = try OptionText(description)
      try self.init(&options)
      try options.finish()
    } catch {
      return nil
    }
  }

  /// Takes the head of `options`, and `offset` and `size` from among them.
  /// - Throws: the part that cannot be read.
  package init(_ options: inout OptionText) throws(InvalidOptionText) {
    let head = options.head
    guard PCIAddress(head) == nil else {
      throw options.problem("it lacks the memory of the device: \(head):2, \(head):cmb")
    }
    guard let colon = head.lastIndex(of: ":"), head[..<colon].contains(":") else {
      throw options.problem("it starts with a device and a BAR, like 0000:01:00.0:2")
    }
    guard let device = PCIAddress(String(head[..<colon])) else {
      throw options.problem("a device is an address like 0000:01:00.0")
    }
    guard let part = Part(String(head[head.index(after: colon)...])) else {
      throw options.problem(
        "a BAR is a number from 0 to 5; an NVMe controller's memory is cmb or pmr")
    }
    self.init(
      device: device, part: part, offset: try options.takeSize("offset") ?? .zero,
      size: try options.takeSize("size"))
  }
}
