import GenPool
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
    var options = try Options(text)
    var device: EmulatedDevice
    switch options.kind {
    case "nvme":
      device = try .nvme(
        memory: options.take("cmb", "a size", ByteCount.init),
        persistent: options.take("pmr", "a size", ByteCount.init))
    case "ivshmem":
      device = .ivshmem(size: try options.take("size", "a size", ByteCount.init) ?? .mebibytes(4))
    default:
      device = .memory(
        size: try options.take("size", "a size", ByteCount.init) ?? .mebibytes(4),
        identity: DeviceIdentity(
          vendor: try options.take("vendor", identifierForm, identifier) ?? 0x1b36,
          device: try options.take("device", identifierForm, identifier) ?? 0x0005))
    }
    device.address = try options.take("address", "an address like 0000:01:00.0", PCIAddress.init)
    device.busOffset =
      try options.take("bus-offset", "an offset like 0x40000000", BusOffset.init) ?? .none
    device.driver = try options.take("driver", "a driver's name", driverName)
    device.iommuGroup = try options.take("group", "a number", UInt32.init)
    device.numaNode = try options.take("node", "a number") { UInt16($0).map { NUMANode(Int($0)) } }
    device.isRemovable = try options.take("removable", "yes or no") {
      ["yes": true, "no": false][$0]
    }
    try device.check(as: text)
    return device
  }

  private static let identifierForm = "a number like 0x1b36"

  private static func identifier(_ text: String) -> UInt16? {
    parseHexadecimal(text).flatMap { UInt16(exactly: $0) }
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

/// The options of a device's text, taken one by one.
private struct Options {
  /// The options of each kind, besides ``common``.
  private static let kinds = [
    "ivshmem": ["size"], "memory": ["size", "vendor", "device"], "nvme": ["cmb", "pmr"],
  ]
  private static let common = ["address", "bus-offset", "driver", "group", "node", "removable"]

  let kind: String
  private let text: String
  private var values: [String: String] = [:]

  init(_ text: String) throws(EmulationError) {
    self.text = text
    let fields = text.split(separator: ",", omittingEmptySubsequences: false).map { String($0) }
    kind = fields[0]
    guard let own = Self.kinds[kind] else {
      let known = Self.kinds.keys.sorted().joined(separator: ", ")
      throw .invalid(subject: quoted(text), problem: "no kind \(quoted(kind)); there are \(known)")
    }
    for field in fields.dropFirst() {
      let parts = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(parts[0])
      guard own.contains(name) || Self.common.contains(name) else {
        let known = (own + Self.common).joined(separator: ", ")
        throw .invalid(
          subject: quoted(text), problem: "no option \(quoted(name)); \(kind) has \(known)")
      }
      guard parts.count == 2, values.updateValue(String(parts[1]), forKey: name) == nil else {
        throw .invalid(
          subject: quoted(text),
          problem: parts.count == 2 ? "option \(name) twice" : "option \(name) without a value")
      }
    }
  }

  /// The value of option `name`, nil when it was not given.
  mutating func take<Value>(
    _ name: String, _ expected: String, _ parse: (String) -> Value?
  ) throws(EmulationError) -> Value? {
    guard let given = values.removeValue(forKey: name) else { return nil }
    guard let value = parse(given) else {
      throw .invalid(
        subject: quoted(text), problem: "\(name): \(quoted(given)) is not \(expected)")
    }
    return value
  }
}
