import DeviceEmulation
import DriverBinding
import PCIDevices

extension DeviceBinding {
  /// The binding of this machine's devices, or of those of an emulated tree, where what a kernel
  /// would do is done by the tree.
  static var standard: DeviceBinding {
    let tree = DeviceTree()
    guard let emulated = try? EmulatedTree(opening: tree.root.path) else {
      return DeviceBinding(tree: tree)
    }
    return DeviceBinding(tree: tree) { text, file throws(DeviceError) in
      do throws(EmulationError) {
        try emulated.answer(text, writtenTo: file)
      } catch {
        throw error.asDeviceError
      }
    }
  }
}
