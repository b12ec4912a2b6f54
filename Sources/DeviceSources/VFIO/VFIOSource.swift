public import DeviceMemory
import GenPool
import Glibc
public import LinuxSystem
public import PCIDevices
import Synchronization
import SystemPackage

/// Opens the memory of PCI devices through VFIO.
///
/// What it gives over ``SysfsSource``: a device behind an IOMMU, so that what drives it reaches
/// nothing but what it was given (``Initiator``); and removal that waits until everybody has let
/// go, so that no mapping ever leads to another device. What it costs: the device must be bound to
/// vfio-pci, with all of its IOMMU group (``DeviceBinding``); x86 maps uncached; and a descriptor
/// reaches all of the device, its configuration space too.
///
/// Safe to use from many threads.
public final class VFIOSource: Sendable {
  /// Where devices are looked up.
  public let tree: DeviceTree
  /// Tells which devices the kernel wants back.
  public let requests: RemovalRequests

  private let rules: [AttachRule]
  private let node: String
  private let open = Mutex(OpenDevices())

  /// What is open somewhere. Weak: whoever uses a device keeps it.
  private struct OpenDevices {
    var groups: [UInt32: WeakGroup] = [:]
    var devices: [PCIAddress: WeakDevice] = [:]
  }

  private struct WeakGroup {
    weak var group: VFIOGroup?
  }

  private struct WeakDevice {
    weak var device: VFIODevice?
  }

  /// A source of the devices under `root`, which has to be the kernel's own sysfs: VFIO knows no
  /// others. Opens nothing yet.
  public convenience init(root: SysfsRoot = .standard) throws(SystemError) {
    try self.init(root: root, rules: AttachRule.vfio, node: "/dev/vfio")
  }

  /// The same over `tree`, whose readings of IOMMU groups it shares.
  package convenience init(tree: DeviceTree) throws(SystemError) {
    try self.init(tree: tree, rules: AttachRule.vfio, node: "/dev/vfio")
  }

  /// A source with rules of one's own, as tests of the rules need.
  package convenience init(
    root: SysfsRoot, rules: [AttachRule], node: String
  ) throws(SystemError) {
    try self.init(tree: DeviceTree(root: root), rules: rules, node: node)
  }

  private init(tree: DeviceTree, rules: [AttachRule], node: String) throws(SystemError) {
    self.tree = tree
    requests = try RemovalRequests()
    self.rules = rules
    self.node = node
  }

  /// Every rule that keeps `request` from being opened, changing nothing; empty when it can be.
  public func refusals(of request: BARRequest) throws(DeviceError) -> [AttachRule.Refusal] {
    try rules.check(request, in: tree).refusals
  }

  /// The device at `address`, opened if it is not open in this source yet.
  /// - Throws: ``DeviceError``, with nothing changed: when a rule about the device forbids it, or another
  ///   process has its group.
  public func device(at address: PCIAddress) throws(DeviceError) -> VFIODevice {
    // Any BAR: the rules about BARs are not asked.
    let request = BARRequest(device: address, bar: 0)
    let (device, refusals) = try AttachRule.vfioDevice.check(request, in: tree)
    guard refusals.isEmpty else { throw .refused(address, refusals) }
    return try use(device)
  }

  /// Opens a BAR or a part of it. The memory is not touched.
  /// - Throws: ``DeviceError``, with nothing changed. EBUSY when another process has the device's group,
  ///   or still maps memory of it.
  public func open(_ request: BARRequest) throws(DeviceError) -> DeviceRange {
    let (found, refusals) = try rules.check(request, in: tree)
    guard refusals.isEmpty else { throw .refused(request.device, refusals) }
    // The rules see to it that the BAR is memory and has an address.
    guard let bar = found.bar(request.bar), let whole = bar.physical else {
      throw .invalid(subject: "\(request)", problem: "it is no memory that has been assigned")
    }
    let size = try request.size(in: bar)
    let device = try use(found)
    // Another device may have been plugged in since, but not since it was opened.
    let (now, stillRefusals) = try rules.check(request, in: tree)
    guard stillRefusals.isEmpty else { throw .refused(request.device, stillRefusals) }
    guard now.identity == device.device.identity, now.bar(bar.index) == bar else {
      throw .invalid(subject: "\(request)", problem: "the device changed while it was opened")
    }
    let region = try device.region(bar.index)
    guard region.size == bar.size else {
      throw .malformed(
        place: "VFIO's answer for \(request)",
        problem: "it is \(region.size) long, but sysfs says \(bar.size)")
    }
    if let problem = region.problem(mapping: request.offset, size) {
      throw .invalid(subject: "\(request)", problem: problem)
    }
    let first = request.offset.rawValue
    let claim = try device.claim(first...(first + size.rawValue - 1), of: bar.index)
    try device.setCommand(.memorySpace, to: true)
    let descriptor: Descriptor
    do throws(SystemError) {
      descriptor = try device.duplicate()
    } catch {
      throw .system(error)
    }
    return DeviceRange(
      descriptor: descriptor, mapOffset: region.fileOffset + request.offset,
      size: size, physical: whole.first + request.offset,
      bus: bar.bus.map { $0 + request.offset },
      // pgprot_noncached in vfio-pci; prefetchable or not.
      caching: .uncached, isolation: .uidExclusive, source: .vfio, label: "\(request)",
      lender: claim, witness: .reopening, witnessAtOpening: claim.witness(), attachment: claim)
  }

  /// The device, opened once in this source.
  private func use(_ device: Device) throws(DeviceError) -> VFIODevice {
    let (opened, isNew) = try open.withLock {
      open throws(DeviceError) -> (VFIODevice, Bool) in
      if let known = open.devices[device.address]?.device { return (known, false) }
      let number = device.iommuGroup?.number ?? 0
      let group: VFIOGroup
      if let known = open.groups[number]?.group {
        group = known
      } else {
        group = try VFIOGroup(of: device, node: node, avoiding: barAddresses())
        open.groups[number] = WeakGroup(group: group)
      }
      let opened = try VFIODevice(device, in: group)
      open.devices[device.address] = WeakDevice(device: opened)
      return (opened, true)
    }
    if isNew {
      do throws(SystemError) {
        try requests.add(opened)
      } catch {
        throw .system(error)
      }
    }
    return opened
  }

  /// Where BARs answer, as IOVAs that had better not be used.
  private func barAddresses() throws(DeviceError) -> [AddressRange<IOVASpace>] {
    return try tree.list().devices.flatMap(\.bars).compactMap { bar in
      bar.bus.flatMap { AddressRange(start: IOVA($0.rawValue), size: bar.size) }
    }
  }
}
