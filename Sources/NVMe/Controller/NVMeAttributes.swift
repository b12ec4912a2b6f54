import GenPool
public import PCIDevices

/// What the kernel's nvme driver says of a controller that is its own, in the controller's
/// directory of class nvme: all that can be known without touching registers that a driver uses.
public struct NVMeAttributes: Hashable, Sendable {
  /// What the driver calls it: `nvme0`.
  public let name: String
  /// As Identify gave them to the driver; nil when it has none yet.
  public let model: String?, serial: String?, firmware: String?
  /// `live`, `resetting`, ….
  public let state: String?
  /// CMBLOC and CMBSZ; nil when the driver does not show them: it has found no buffer that it can
  /// use, or the kernel is older than the attributes.
  public let bufferLocation: UInt32?, bufferSize: UInt32?

  /// Reads the attributes of the controller at `address`.
  /// - Returns: nil when no nvme driver has it.
  public init?(of address: PCIAddress, in tree: DeviceTree) throws(DeviceError) {
    let directory = tree.root["bus/pci/devices"][address.description]["nvme"]
    guard try directory.exists(), let name = try directory.entries().first else { return nil }
    let node = directory[name]
    func text(_ attribute: String) throws(DeviceError) -> String? {
      guard let line = try node[attribute].optionalAttribute()?.lines.first else { return nil }
      let trimmed = line.split(separator: " ").joined(separator: " ")
      return trimmed.isEmpty ? nil : String(trimmed)
    }
    self.name = name
    model = try text("model")
    serial = try text("serial")
    firmware = try text("firmware_rev")
    state = try text("state")
    bufferLocation = try Self.register("cmbloc", of: node)
    bufferSize = try Self.register("cmbsz", of: node)
  }

  /// A register from its own attribute, or from the list of both that older kernels have.
  private static func register(
    _ name: String, of node: SysfsNode
  ) throws(DeviceError) -> UInt32? {
    if let own = try node[name].optionalAttribute() { return try own.register() }
    return try node["cmb"].optionalAttribute()?.register(named: name)
  }
}

extension AttributeText {
  /// A register by itself: decimal, or hexadecimal after `0x`.
  package func register() throws(DeviceError) -> UInt32 {
    try value("a register of 32 bits") { text in
      UInt32(text) ?? parseHexadecimal(text).flatMap { UInt32(exactly: $0) }
    }
  }

  /// A register in a list of lines like `cmbloc : x00000002`.
  package func register(named name: String) throws(DeviceError) -> UInt32 {
    for (index, line) in lines.enumerated() {
      let parts = line.split(separator: ":")
      guard parts.count == 2, parts[0].split(separator: " ") == [Substring(name)] else { continue }
      let digits = parts[1].split(separator: " ").joined()
      guard digits.hasPrefix("x"), let value = parseHexadecimal("0" + digits),
        let register = UInt32(exactly: value)
      else {
        throw malformed("\(quoted(line)) is not a register of 32 bits", index + 1)
      }
      return register
    }
    throw malformed("it has no line about \(name)")
  }
}
