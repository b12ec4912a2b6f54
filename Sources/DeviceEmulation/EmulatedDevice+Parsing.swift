import GenPool
import OptionText
import PCIDevices

extension EmulatedDevice {
  /// The device that `text` describes: `KIND[,OPTION=VALUE]…`, as in `nvme,cmb=64M`.
  ///
  /// | kind | options of its own |
  /// |---|---|
  /// | `nvme` | `cmb=SIZE`, `pmr=SIZE` |
  /// | `ivshmem` | `size=SIZE` |
  /// | `memory` | `size=SIZE`, `vendor=0x…`, `device=0x…` |
  ///
  /// and for all: `address=BDF`, `bus-offset=[-]SIZE`, `driver=NAME`, `group=N` (IOMMU group),
  /// `node=N` (NUMA), `removable=yes|no`.
  public static func parse(_ text: String) throws(EmulationError) -> EmulatedDevice {
    var options: OptionText
    let kind: Kind
    do throws(InvalidOptionText) {
      options = try OptionText(text)
      kind = try Kind(&options)
    } catch {
      throw EmulationError(error)
    }
    var device = try kind.device()
    do throws(InvalidOptionText) {
      try device.takeCommon(&options)
      try options.finish()
    } catch {
      throw EmulationError(error)
    }
    try device.check(as: text)
    return device
  }

  /// Takes the options that all kinds have.
  private mutating func takeCommon(_ options: inout OptionText) throws(InvalidOptionText) {
    address = try options.take(
      "address", else: "is not an address like 0000:01:00.0", PCIAddress.init)
    busOffset =
      try options.take("bus-offset", else: "is not an offset like 0x40000000", BusOffset.init)
      ?? .none
    driver = try options.take("driver", else: "is not a driver's name", Self.driverName)
    iommuGroup = try options.takeNumber("group")
    numaNode = try options.takeNumber("node", as: UInt16.self).map { NUMANode(Int($0)) }
    isRemovable = try options.takeChoice("removable", ["yes": true, "no": false])
  }

  /// A driver becomes a directory's name.
  private static func driverName(_ text: String) -> String? {
    let isName = text.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
        true
      default: false
      }
    }
    return isName && !text.isEmpty ? text : nil
  }
}

/// A kind of device, with the options of its own.
private enum Kind {
  case nvme(memory: ByteCount?, persistent: ByteCount?)
  case ivshmem(size: ByteCount)
  case memory(size: ByteCount, identity: DeviceIdentity)

  init(_ options: inout OptionText) throws(InvalidOptionText) {
    switch options.head {
    case "nvme":
      self = .nvme(
        memory: try options.takeSize("cmb"), persistent: try options.takeSize("pmr"))
    case "ivshmem":
      self = .ivshmem(size: try options.takeSize("size") ?? .mebibytes(4))
    case "memory":
      self = .memory(
        size: try options.takeSize("size") ?? .mebibytes(4),
        identity: DeviceIdentity(
          vendor: try Self.takeIdentifier("vendor", from: &options) ?? 0x1b36,
          device: try Self.takeIdentifier("device", from: &options) ?? 0x0005))
    default:
      throw options.problem("no kind \(quoted(options.head)); there are ivshmem, memory, nvme")
    }
  }

  private static func takeIdentifier(
    _ key: String, from options: inout OptionText
  ) throws(InvalidOptionText) -> UInt16? {
    try options.take(key, else: "is not a number like 0x1b36") { text in
      parseHexadecimal(text).flatMap { UInt16(exactly: $0) }
    }
  }

  func device() throws(EmulationError) -> EmulatedDevice {
    switch self {
    case .nvme(let memory, let persistent): try .nvme(memory: memory, persistent: persistent)
    case .ivshmem(let size): .ivshmem(size: size)
    case .memory(let size, let identity): .memory(size: size, identity: identity)
    }
  }
}

extension EmulationError {
  fileprivate init(_ error: InvalidOptionText) {
    self = .invalid(subject: quoted(error.text), problem: error.problem)
  }
}
