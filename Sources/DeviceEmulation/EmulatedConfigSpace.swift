import GenPool
import PCIDevices

/// The configuration space of an emulated device: 4096 bytes, of which the header says something.
/// PCI 3.0 section 6.1.
struct EmulatedConfigSpace {
  private(set) var bytes = [UInt8](repeating: 0, count: 4096)

  /// - Parameter bus: where the host bridge has placed each of the device's BARs.
  init(of device: EmulatedDevice, bus: [BAR.Index: BusAddress]) {
    store(0x00, device.identity.vendor)
    store(0x02, device.identity.device)
    // COMMAND (04h) stays 0: whoever uses the device enables it.
    bytes[0x08] = device.revision
    bytes[0x09] = device.classCode.interface
    bytes[0x0a] = device.classCode.subclass
    bytes[0x0b] = device.classCode.base
    for bar in device.bars {
      let offset = 0x10 + 4 * bar.index.rawValue
      let address = bus[bar.index]?.rawValue ?? 0
      store(offset, UInt32(truncatingIfNeeded: address) | bar.registerFlags)
      if bar.is64Bit { store(offset + 4, UInt32(truncatingIfNeeded: address >> 32)) }
    }
    store(0x2c, device.subsystem.vendor)
    store(0x2e, device.subsystem.device)
  }

  private mutating func store<Number: FixedWidthInteger>(_ offset: Int, _ value: Number) {
    for byte in 0..<(Number.bitWidth / 8) {
      bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> Number(8 * byte))
    }
  }
}
