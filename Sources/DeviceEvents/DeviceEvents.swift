import CDeviceSources
public import DeviceMemory
public import PCIDevices
import SystemPackage

/// Hot-plug: devices that come and go while the program runs.
public enum DeviceEvents {
  /// Watches the devices of `tree`: by udev if its root is the kernel's sysfs, wherever that is
  /// mounted, else by inotify.
  public static func watch(_ tree: DeviceTree) throws(SystemError) -> any DeviceEventSource {
    if try isSysfs(tree.root) { return try UdevMonitor() }
    return try TreeWatch(root: tree.root)
  }

  private static func isSysfs(_ root: SysfsRoot) throws(SystemError) -> Bool {
    let path = root.path.string
    let directory = Descriptor(
      owning: try check("open", path, unsafe gs_open_directory(path)))
    return try check("examine", path, gs_is_sysfs(directory.rawValue)) == 1
  }

  /// `result` unless it is a negated errno.
  private static func check(
    _ operation: String, _ subject: String, _ result: CInt
  ) throws(SystemError) -> CInt {
    guard result < 0 else { return result }
    throw SystemError(operation: operation, subject: subject, errno: Errno(rawValue: -result))
  }
}
