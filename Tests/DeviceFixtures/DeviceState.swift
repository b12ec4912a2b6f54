import Glibc
import PCIDevices
import SystemPackage

/// Everything about a device that attaching it changes.
package struct DeviceState: Equatable {
  package let enable: String
  package let override: String
  package let command: [UInt8]

  /// As the kernel leaves a device that no driver has touched.
  package static let untouched = DeviceState(enable: "0", override: "(null)", command: [0, 0])
  /// As it is while genpool uses it.
  package static let attached = DeviceState(enable: "1", override: "genpool", command: [2, 0])

  package init(enable: String, override: String, command: [UInt8]) {
    self.enable = enable
    self.override = override
    self.command = command
  }
}

extension TemporaryTree {
  /// The first device's state.
  package func state() throws -> DeviceState {
    DeviceState(
      enable: try text("enable"), override: try text("driver_override"),
      command: Array(try read("config")[4..<6]))
  }

  /// How many descriptors of this process are open on files of the tree. Other tests do not disturb it.
  package func openFiles() throws -> Int {
    let descriptors = SysfsNode(path: "/proc/self/fd")
    return try descriptors.entries().count { name in
      let target = try? descriptors[name].linkTarget()
      return target?.starts(with: root.path) == true
    }
  }
}
