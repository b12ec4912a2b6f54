public import LinuxSystem
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
    let directory = try attempt("open", path, try Directory(path))
    return try attempt("examine", path, try directory.isSysfs())
  }
}
