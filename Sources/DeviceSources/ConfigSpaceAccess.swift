import GenPool
import LinuxSystem
import PCIDevices

/// The COMMAND register (PCI 3.0 section 6.2.2) in a file that contains a device's configuration
/// space: sysfs's `config`, or VFIO's descriptor of the device.
struct ConfigSpaceAccess: Sendable {
  /// The configuration space's place in the file.
  let start: ByteCount
  /// The file, as errors call it.
  let subject: String

  /// The register's present value.
  func command(in file: borrowing Descriptor) throws(DeviceError) -> ConfigSpace.Command {
    let bytes = try DeviceError.attempt("read", subject, try file.read(at: offset, count: 2))
    return ConfigSpace.Command(rawValue: UInt16(bytes[0]) | UInt16(bytes[1]) << 8)
  }

  /// Writes the register.
  func setCommand(
    _ command: ConfigSpace.Command, in file: borrowing Descriptor
  ) throws(DeviceError) {
    let bytes = [UInt8(truncatingIfNeeded: command.rawValue), UInt8(command.rawValue >> 8)]
    try DeviceError.attempt("write", subject, try file.write(bytes, at: offset))
  }

  private var offset: UInt64 { start.rawValue + ConfigSpace.commandOffset.rawValue }
}
