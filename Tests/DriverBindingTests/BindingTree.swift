import DeviceEmulation
import DeviceFixtures
import DriverBinding
import PCIDevices
import SystemPackage

extension TemporaryTree {
  /// A tree whose kernel knows vfio-pci, and what binds devices there.
  static func binding(_ devices: String...) throws -> (TemporaryTree, DeviceBinding) {
    try binding(devices)
  }

  static func binding(_ devices: [String]) throws -> (TemporaryTree, DeviceBinding) {
    let tree = try TemporaryTree(devices.map { try EmulatedDevice.parse($0) })
    try tree.makeDirectory("/bus/pci/drivers/vfio-pci")
    try tree.write("/bus/pci/drivers_probe", "")
    return (tree, DeviceBinding(tree: DeviceTree(root: tree.root)))
  }

  /// Does what a kernel does when it binds the device to `driver`.
  func setDriver(_ driver: String, of device: PCIAddress? = nil) throws {
    try write("/bus/pci/drivers/\(driver)/unbind", "")
    try link(
      "/bus/pci/devices/\(device ?? address)/driver", to: "../../../bus/pci/drivers/\(driver)")
  }

  /// Leaves a device as binding it to vfio-pci does, with `driver` and `override` on record.
  func setBound(
    from driver: String?, override: String = "", _ device: PCIAddress? = nil
  ) throws {
    let device = device ?? address
    let identity = try DeviceTree(root: root).device(at: device).identity
    try setDriver("vfio-pci", of: device)
    try write("/bus/pci/devices/\(device)/driver_override", "vfio-pci\n")
    try write(
      record(of: device),
      BindingRecord(driver: driver, override: override, identity: identity).text)
  }

  /// Where the record of a device is.
  func record(of device: PCIAddress) -> String { "/run/genpool/bindings/\(device)" }

  /// Whether there is a record of the device.
  func hasRecord(of device: PCIAddress? = nil) throws -> Bool {
    try root["run/genpool/bindings/\(device ?? address)"].exists()
  }

  /// Gives the device a disk that is mounted at `places`.
  func setMounted(at places: String..., on device: PCIAddress? = nil) throws {
    let device = device ?? address
    try write("/bus/pci/devices/\(device)/nvme/nvme0/nvme0n1/dev", "259:0\n")
    try makeDirectory("/bus/pci/devices/\(device)/nvme/nvme0/nvme0n1/holders")
    try link(
      "/class/block/nvme0n1", to: "../../devices/pci0000:00/\(device)/nvme/nvme0/nvme0n1")
    try write(
      "/proc/self/mountinfo",
      places.map { "31 22 259:0 / \($0) rw - ext4 /dev/nvme0n1 rw\n" }.joined())
    try write("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
  }

  /// Gives the device a network interface that is up.
  func setNetworkUp(of device: PCIAddress? = nil) throws {
    let device = device ?? address
    try write("/bus/pci/devices/\(device)/net/eth7/flags", "0x1003\n")
    try link("/class/net/eth7", to: "../../devices/pci0000:00/\(device)/net/eth7")
  }
}
