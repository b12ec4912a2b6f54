public import DeviceSources
import GenPool
import LinuxSystem
public import PCIDevices

/// A device that does DMA, and what stands between it and memory. The same byte has one address for
/// each initiator: that is why ``dmaAddress(of:for:)`` asks for one.
public struct Initiator: Sendable {
  /// Where it sits.
  public let device: PCIAddress

  let path: Path

  /// How its addresses get to memory.
  enum Path: Sendable {
    /// As they are: no IOMMU, or one that passes everything through.
    case untranslated
    /// Through the container of its group.
    case container(VFIODevice)
  }

  /// A device of this process's own. It reaches what is mapped for it, whatever the machine was
  /// booted with: in VFIO's hands even `iommu=pt` translates.
  public init(_ device: VFIODevice) {
    self.device = device.address
    path = .container(device)
  }

  /// A device that is not in VFIO's hands, driven through sysfs.
  /// - Throws: when its IOMMU translates for the kernel's own drivers: then nobody in user space can know
  ///   or make an address for it.
  public init(_ address: PCIAddress, in tree: DeviceTree = DeviceTree()) throws(DMAError) {
    device = address
    path = .untranslated
    let group: IOMMUGroup?
    do throws(DeviceError) {
      group = try tree.device(at: address).iommuGroup
    } catch {
      throw .unreachable(subject: "memory", initiator: "\(address)", cause: error.description)
    }
    guard let group, group.domain != IOMMUGroup.identityDomain else { return }
    throw .unreachable(
      subject: "memory", initiator: "\(address)",
      cause:
        "IOMMU group \(group.number) translates (\(group.domain ?? "unknown domain")), and only "
        + "VFIO lets user space map memory for it: genpoolctl device bind \(address); or boot with iommu=pt"
    )
  }
}

extension BARSource {
  /// A device that this source opens, as one that does DMA.
  /// - Throws: as ``Initiator/init(_:in:)``; when VFIO does not open it.
  public func initiator(at device: PCIAddress) throws(DMAError) -> Initiator {
    let opened: VFIODevice?
    do throws(DeviceError) {
      opened = try vfioDevice(at: device)
    } catch {
      throw .unreachable(subject: "memory", initiator: "\(device)", cause: error.description)
    }
    if let opened { return Initiator(opened) }
    return try Initiator(device, in: tree)
  }
}

/// The address that `initiator` must use for `memory`, kept valid as long as the mapping is.
///
/// Without translation it is the bus address. In a VFIO container the memory is mapped for the
/// device, rounded out to whole pages: neighbours in its first and last page are in reach too, so
/// that what must be kept apart takes a page of its own.
///
/// - Throws: ``DMAError/unreachable(subject:initiator:cause:)`` with the reason why there is none; EINVAL,
///   ENOMEM, ENOSPC of the mapping.
public func dmaAddress(
  of memory: DMAMemory, for initiator: Initiator
) throws(DMAError) -> DMAMapping {
  switch initiator.path {
  case .untranslated:
    guard let bus = memory.bus else {
      throw .unreachable(
        subject: memory.label, initiator: "\(initiator.device)",
        cause: "nothing translates for the device, and nobody knows the memory's bus address")
    }
    return DMAMapping(memory, .bus(bus), of: initiator, translation: nil)
  case .container(let device):
    guard let keeper = memory.keeper else {
      throw .unreachable(
        subject: memory.label, initiator: "\(initiator.device)",
        cause: "the IOMMU is told virtual addresses, and the memory is not mapped in this process")
    }
    let page = device.group.container.pageSize
    let slack = ByteCount(memory.start.rawValue % page.rawValue)
    guard let size = (memory.size + slack).roundedUp(to: page) else {
      throw .invalid(subject: memory.label, problem: "it passes the end of the address space")
    }
    let mapping: IOVAMapping
    do throws(SystemError) {
      mapping = try device.group.container.map(
        memory.start - slack, size, memory.label, backing: keeper)
    } catch {
      throw .system(error)
    }
    return DMAMapping(memory, .iova(mapping.iova + slack), of: initiator, translation: mapping)
  }
}
