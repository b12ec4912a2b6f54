package import GenPool

// What a device's attributes say, as sysfs-bus-pci documents them.

extension AttributeText {
  /// `vendor`, `device` and their `subsystem_` ones.
  package func word() throws(DeviceError) -> UInt16 {
    UInt16(truncatingIfNeeded: try value("a 16-bit number") { number($0, bits: 16) })
  }

  /// `revision`.
  package func byte() throws(DeviceError) -> UInt8 {
    UInt8(truncatingIfNeeded: try value("an 8-bit number") { number($0, bits: 8) })
  }

  /// `class`.
  package func classCode() throws(DeviceError) -> ClassCode {
    ClassCode(UInt32(truncatingIfNeeded: try value("a class code") { number($0, bits: 24) }))
  }

  /// `numa_node`; nil for the kernel's NUMA_NO_NODE, -1.
  package func numaNode() throws(DeviceError) -> NUMANode? {
    let number = try value("a node's number") { text in
      Int32(text).flatMap { $0 >= -1 ? $0 : nil }
    }
    return number < 0 ? nil : NUMANode(Int(number))
  }

  /// `power_state`.
  package func powerState() throws(DeviceError) -> PowerState {
    try value("a power state", PowerState.init)
  }

  /// `boot_vga`.
  package func isBootVGA() throws(DeviceError) -> Bool {
    try value("0 or 1") { ["0": false, "1": true][$0] }
  }

  /// `removable`.
  package func isRemovable() throws(DeviceError) -> Bool {
    try value("fixed, removable or unknown") {
      ["fixed": false, "unknown": false, "removable": true][$0]
    }
  }

  /// The number that `0x…` stands for when it has at most so many bits.
  private func number(_ text: String, bits: UInt64) -> UInt64? {
    parseHexadecimal(text).flatMap { $0 >> bits == 0 ? $0 : nil }
  }
}
