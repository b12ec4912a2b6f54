public import GenPool
public import SystemPackage

/// A PCI device as sysfs showed it at one moment.
public struct Device: Hashable, Sendable {
  /// Where it sits.
  public let address: PCIAddress
  /// Its directory, `bus/pci/devices/BDF` below the root.
  public let path: FilePath
  /// Who made it and which one it is, as the kernel remembers from when it found the device.
  public let identity: DeviceIdentity
  /// The ids of the board's maker and of the board; nil where nothing says.
  public let subsystem: DeviceIdentity?
  /// The revision, of its maker's choosing; nil where nothing says.
  public let revision: UInt8?
  /// The device's purpose; 0 where nothing says, which is a device older than class codes.
  public let classCode: ClassCode
  /// The BARs that are implemented, by index.
  public let bars: [BAR]
  /// What it may do now.
  public let command: ConfigSpace.Command
  /// Whether it answers: false when configuration space reads as all-ones, as it does when the device
  /// was pulled out, is without power, or has failed.
  public let isResponding: Bool
  /// The parts of its BARs that its capabilities call registers, by place; nil while they cannot be
  /// read: the kernel shows capabilities to root only.
  public let registers: [RegisterBlock]?
  /// The driver bound to it.
  public let driver: String?
  /// Whether the driver is one of VFIO's, `vfio-pci` or a variant of it (the `vfio-dev` directory,
  /// since Linux 6.2).
  let usesVFIO: Bool
  /// Its IOMMU group; nil without an IOMMU.
  public let iommuGroup: IOMMUGroup?
  /// The NUMA node that it is near; nil when the firmware does not say.
  public let numaNode: NUMANode?
  /// Its power state; nil on kernels that do not show it (before 5.10).
  public let powerState: PowerState?
  /// Whether the firmware showed the machine's first picture with it.
  public let isBootVGA: Bool
  /// Whether it is a virtual function of SR-IOV, which has no ids and no memory-space bit of its own.
  public let isVirtualFunction: Bool
  /// Whether the firmware says that users can pull it out (the `removable` attribute).
  public let isRemovable: Bool
  /// The hot-plug slot that it, or a bridge above it, sits in.
  public let hotplugSlot: String?
  /// The parts that could not be read or make no sense, and are left out above. Nothing is opened
  /// of a device that has any.
  public let problems: [DeviceError]

  /// The BAR `index`, nil when it is not implemented.
  public func bar(_ index: BAR.Index) -> BAR? { bars.first { $0.index == index } }

  /// Whether the device answers at its memory BARs. A virtual function does as long as it exists:
  /// its own bit is hard-wired to 0, and the kernel switches the memory of all of them on together
  /// with themselves (SR-IOV 1.1 sections 3.3.3.4 and 3.4.1.3; Linux: `sriov_enable`).
  public var isMemoryEnabled: Bool { isVirtualFunction || command.contains(.memorySpace) }
}

extension Device: CustomStringConvertible {
  /// `0000:01:00.0 1b36:0010 (class 0x010802)`.
  public var description: String { "\(address) \(identity) (class \(classCode))" }
}

/// A device's power state, as the kernel's `pci_power_name` spells it.
public enum PowerState: String, Hashable, Sendable, CaseIterable {
  /// Fully on: the only state in which memory BARs work.
  case d0 = "D0"
  case d1 = "D1"
  case d2 = "D2"
  /// Off but for configuration space.
  case d3hot = "D3hot"
  /// Without power.
  case d3cold = "D3cold"
  /// Nobody has asked yet: devices without power management that no driver ever enabled.
  case unknown = "unknown"
  /// The kernel failed to change it.
  case error = "error"
}
