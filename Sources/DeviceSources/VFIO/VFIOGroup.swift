import CDeviceSources
import GenPool
import LinuxSystem
import PCIDevices
import Synchronization
import SystemPackage

/// An IOMMU group in this process's hands. The kernel gives a group to one process at a time.
public final class VFIOGroup: Sendable {
  // Destroyed in this order.

  /// The kernel's number of the group.
  public let number: UInt32
  private let descriptor: Descriptor
  /// What its devices can reach.
  public let container: VFIOContainer
  /// The devices of which descriptors were handed out since the group was opened. The kernel opened
  /// it only because nothing of it was left in any process (EBUSY otherwise).
  private let issued = Mutex<Set<PCIAddress>>([])

  /// Opens the group of `device` and gives it a container.
  /// - Parameters:
  ///   - node: where the group's file is, `/dev/vfio`.
  ///   - taken: addresses that BARs answer at.
  init(
    of device: Device, node: String, avoiding taken: [AddressRange<IOVASpace>]
  ) throws(DeviceError) {
    guard let group = device.iommuGroup else {
      throw .invalid(subject: "\(device.address)", problem: "it is in no IOMMU group")
    }
    number = group.number
    let path = "\(node)/\(group.number)"
    let result = unsafe gs_vfio_open_group(path)
    guard result >= 0 else {
      throw .system(
        SystemError(
          operation: "open", subject: path, errno: Errno(rawValue: -result),
          cause: Self.cause(of: Errno(rawValue: -result), node)))
    }
    descriptor = Descriptor(owning: result)
    guard try DeviceError.check(gs_vfio_is_viable(descriptor.rawValue), "ask", path) == 1 else {
      throw .system(
        SystemError(
          operation: "use", subject: "IOMMU group \(number)", errno: .resourceBusy,
          cause: group.blockers.isEmpty
            ? "the kernel says that a device of it is in use"
            : AttachRule.describe(group.blockers) + " is in the way"))
    }
    container = try VFIOContainer(
      of: descriptor, number: number, node: node, avoiding: taken)
  }

  // MARK: Handed out

  /// Notes that a descriptor of `device` is handed out to other processes.
  func noteIssue(of device: PCIAddress) {
    _ = issued.withLock { $0.insert(device) }
  }

  /// Whether a descriptor of `device` was handed out since the group was opened.
  func hasIssued(_ device: PCIAddress) -> Bool { issued.withLock { $0.contains(device) } }

  /// Opens a device of the group.
  func open(_ device: PCIAddress) throws(DeviceError) -> Descriptor {
    let name = device.description
    return Descriptor(
      owning: try DeviceError.check(
        unsafe gs_vfio_open_device(descriptor.rawValue, name), "open through VFIO", name))
  }

  private static func cause(of errno: Errno, _ node: String) -> String? {
    switch errno {
    case .resourceBusy:
      "another process has the group open, or still maps memory of a device of it"
    case .noSuchFileOrDirectory:
      "no device of the group is bound to vfio-pci, or \(node) is not there (PrivateDevices=yes)"
    case .permissionDenied, .notPermitted: "that takes root, or the group's file being yours"
    default: nil
    }
  }
}
