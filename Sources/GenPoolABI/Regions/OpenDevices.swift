import CGenPool
import DeviceSources
import LinuxSystem
import NVMe
import PCIDevices
import Synchronization

/// The sources and NVMe controllers of this process: one of each root, interface and device,
/// because the locks that keep others out keep out another source as well.
enum OpenDevices {
  private struct Key: Hashable {
    let root: SysfsRoot
    let isVFIO: Bool
  }

  private struct ControllerKey: Hashable {
    let source: Key
    let device: PCIAddress
  }

  private struct WeakController {
    weak var controller: NVMeController?
  }

  private static let sources = Mutex<[Key: any BARSource]>([:])
  // Weak: whoever uses a controller's memory keeps it.
  private static let controllers = Mutex<[ControllerKey: WeakController]>([:])

  /// The source of `number`, a `genpool_source`, for devices under `root`.
  static func source(_ number: UInt32, root: SysfsRoot) throws(DeviceError) -> any BARSource {
    let isVFIO = number == GENPOOL_SOURCE_VFIO.rawValue
    guard isVFIO || number == GENPOOL_SOURCE_SYSFS.rawValue else {
      throw .invalid(subject: "source \(number)", problem: "there is none of that number")
    }
    return try sources.withLock { (sources) throws(DeviceError) in
      let key = Key(root: root, isVFIO: isVFIO)
      if let source = sources[key] { return source }
      let source: any BARSource
      do throws(SystemError) {
        source =
          if isVFIO { try VFIOSource(root: root) } else {
            SysfsSource(root: root, report: { Misuse.warning("\($0)") })
          }
      } catch {
        throw .system(error)
      }
      sources[key] = source
      return source
    }
  }

  /// The NVMe controller at `device`, its registers open.
  static func controller(
    at device: PCIAddress, source number: UInt32, root: SysfsRoot, allowed: Set<String>
  ) throws(DeviceError) -> NVMeController {
    let source: any BARSource
    source = try self.source(number, root: root)
    let key = ControllerKey(
      source: Key(root: root, isVFIO: source is VFIOSource), device: device)
    return try controllers.withLock { (controllers) throws(DeviceError) in
      if let controller = controllers[key]?.controller { return controller }
      let controller = try NVMeController(at: device, source: source, allowed: allowed)
      controllers[key] = WeakController(controller: controller)
      return controller
    }
  }
}
