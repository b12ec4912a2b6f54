// Types of the modules below, as arguments. Their texts are those that they parse themselves; what cannot
// be parsed is answered with what can.

public import ArgumentParser
import BrokerProtocol
import GenPool
public import PCIDevices

extension PCIAddress: ExpressibleByArgument {}
extension DeviceIdentity: ExpressibleByArgument {}

extension ByteCount {
  /// Reads a size, or says what one looks like.
  @Sendable
  static func parseArgument(_ text: String) throws -> Self {
    guard let size = Self(text) else {
      throw ValidationError("\(text) is no size; write 65536, 0x10000, 64K or 1M.")
    }
    guard size.isOnWire else {
      throw ValidationError("\(text) is more than a size may be, \(Int64.max) bytes.")
    }
    return size
  }
}

extension PCIAddress {
  /// Reads an address, or says what one looks like.
  @Sendable
  static func parseArgument(_ text: String) throws -> Self {
    guard let address = Self(text) else {
      throw ValidationError("\(text) is no address like 0000:01:00.0 or 01:00.0.")
    }
    return address
  }
}
