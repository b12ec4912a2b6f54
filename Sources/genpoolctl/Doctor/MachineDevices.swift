import DeviceMemory
import DeviceSources
import Glibc
import NVMe
import PCIDevices
import SystemPackage

/// The PCI devices of a machine, as far as leasing their memory goes.
struct MachineDevices: Sendable {
  /// The devices, by address.
  let all: Fact<[Entry]>
  /// The names of those that could not be read.
  let unreadable: [String]
  /// The means to tell whether memory that was handed out is still reached, for a device that is
  /// not bound to VFIO; nil without a device that has memory.
  let witness: Witness?

  /// One device.
  struct Entry: Sendable {
    let device: Device
    let verdict: DeviceVerdict
    /// Whether this process may open what its verdict's first source opens.
    let isOpen: Bool
    /// A controller's memory; nil for a device of another class.
    let memory: ControllerMemoryFact?
  }

  /// The controller memory buffer of an NVMe controller, as far as it shows without touching its
  /// registers.
  enum ControllerMemoryFact: Hashable, Sendable {
    /// Its driver shows one.
    case buffer
    /// Its driver shows none: the controller has none, or the kernel is older than the attributes.
    case notShown
    /// No driver has read its registers.
    case notRead
  }

  /// Reads the devices under `root`. Opens no file of a BAR.
  init(of root: SystemRoot) {
    let tree = DeviceTree(root: root.sysfs)
    do throws(DeviceError) {
      let listing = try tree.list()
      let verdicts = try DeviceList.verdicts(on: listing.devices, in: tree)
      all = .known(
        zip(listing.devices, verdicts).map { device, verdict in
          Entry(
            device: device, verdict: verdict, isOpen: Self.mayOpen(verdict, of: device, in: root),
            memory: Self.memory(of: device, in: tree))
        })
      unreadable = listing.unreadable.map(\.name)
      witness = listing.devices.first { device in
        !device.isVFIOs && device.bars.contains { $0.kind == .memory }
      }.map { SysfsSource.witness(of: $0) }
    } catch {
      all = .unknown(error.description)
      unreadable = []
      witness = nil
    }
  }

  /// Whether this process may read and write the files that attaching takes.
  private static func mayOpen(
    _ verdict: DeviceVerdict, of device: Device, in root: SystemRoot
  ) -> Bool {
    guard let bar = verdict.bar, let source = verdict.sources.first else { return false }
    let files =
      switch source {
      case .sysfs:
        ["enable", "config", bar.resourceFile].map { device.path.appending($0).string }
      case .vfio: device.iommuGroup.map { [root["/dev/vfio/\($0.number)"].path] } ?? []
      }
    return files.allSatisfy { unsafe faccessat(AT_FDCWD, $0, R_OK | W_OK, AT_EACCESS) == 0 }
  }

  private static func memory(of device: Device, in tree: DeviceTree) -> ControllerMemoryFact? {
    guard device.classCode == .nvme else { return nil }
    guard let attributes = try? NVMeAttributes(of: device.address, in: tree) else {
      return .notRead
    }
    return (attributes.bufferSize ?? 0) == 0 ? .notShown : .buffer
  }
}
