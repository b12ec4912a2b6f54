import Glibc
public import LinuxSystem
public import SystemPackage

/// Why a device could not be read from sysfs.
public enum DeviceTreeError: Error, Hashable, Sendable {
  /// The system refused to read a file or a directory.
  case system(SystemError)
  /// A file does not say what its kernel documentation promises. `place` is its path, with `:LINE`
  /// when one line is at fault.
  case malformed(place: String, problem: String)
  /// No device has that address.
  case noSuchDevice(PCIAddress, root: SysfsRoot)

  /// The errno that says the same: ENODEV, EBADMSG or the system's.
  public var errno: Errno {
    switch self {
    case .system(let error): error.errno
    case .malformed: .badMessage
    case .noSuchDevice: Errno(rawValue: ENODEV)
    }
  }
}

extension DeviceTreeError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .system(let error): error.description
    case .malformed(let place, let problem): "read \(place): \(problem)"
    case .noSuchDevice(let address, let root):
      "find \(address): no such PCI device under \(root) (`genpoolctl device list` shows them)"
    }
  }
}
