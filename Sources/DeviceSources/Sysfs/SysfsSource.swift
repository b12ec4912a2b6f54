public import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
public import PCIDevices
import SystemPackage

/// Opens the memory of PCI devices through sysfs: `resourceN` and `resourceN_wc`.
///
/// Works on every kernel and without an IOMMU. What it cannot do: give away less than a BAR (a
/// descriptor maps all of it), and take a mapping back, not even when the device is pulled out.
/// Hence ``AttachRule/sysfs``, which every opening passes, and ``Isolation/uidExclusive``.
///
/// Safe to use from many threads.
public final class SysfsSource: Sendable {
  /// Where devices are looked up.
  public let tree: DeviceTree

  private let rules: [AttachRule]
  private let claims: Claims

  /// A source of the devices under `root`. Opens nothing yet.
  /// - Parameter report: called, on whatever thread gives the last range of a device back, for each
  ///   change of the device that could not be undone; not when the device is gone.
  public convenience init(
    root: SysfsRoot = .standard, report: @escaping @Sendable (DeviceError) -> Void = { _ in }
  ) {
    self.init(root: root, rules: AttachRule.sysfs, report: report)
  }

  /// The same over `tree`, whose readings of IOMMU groups it shares.
  package convenience init(
    tree: DeviceTree, report: @escaping @Sendable (DeviceError) -> Void = { _ in }
  ) {
    self.init(tree: tree, rules: AttachRule.sysfs, report: report)
  }

  /// A source with rules of one's own, as tests of the rules need.
  package convenience init(
    root: SysfsRoot, rules: [AttachRule],
    report: @escaping @Sendable (DeviceError) -> Void = { _ in }
  ) {
    self.init(tree: DeviceTree(root: root), rules: rules, report: report)
  }

  private init(
    tree: DeviceTree, rules: [AttachRule], report: @escaping @Sendable (DeviceError) -> Void
  ) {
    self.tree = tree
    self.rules = rules
    claims = Claims(report: report)
  }

  /// Every rule that keeps `request` from being opened, changing nothing; empty when it can be.
  public func refusals(of request: BARRequest) throws(DeviceError) -> [AttachRule.Refusal] {
    try rules.check(request, in: tree).refusals
  }

  /// Opens a BAR or a part of it.
  ///
  /// The device is enabled, kept from drivers and locked against other genpool users; all of that
  /// ends, and is undone, with the last of its ranges. The memory is not touched.
  /// - Throws: ``DeviceError``, with nothing changed. EBUSY when another process has the BAR, or still
  ///   maps memory of it.
  public func open(_ request: BARRequest) throws(DeviceError) -> DeviceRange {
    let (device, refusals) = try rules.check(request, in: tree)
    guard refusals.isEmpty else { throw .refused(request.device, refusals) }
    // The rules see to it that the BAR is memory and has an address.
    guard let bar = device.bar(request.bar), let whole = bar.physical else {
      throw .invalid(subject: "\(request)", problem: "it is no memory that has been assigned")
    }
    let size = try request.size(in: bar)
    let offset = request.offset
    let claim = try claims.claim(
      offset.rawValue...(offset + size - 1).rawValue, of: bar, device, for: request.contents
    ) { () throws(DeviceError) in
      // A driver may have been bound since, or another device plugged in.
      let (now, refusals) = try rules.check(request, in: tree)
      guard refusals.isEmpty else { throw .refused(request.device, refusals) }
      guard now.identity == device.identity, now.bar(bar.index) == bar else {
        throw .invalid(subject: "\(request)", problem: "the device changed while it was opened")
      }
    }
    return DeviceRange(
      descriptor: try claim.files.descriptor(), mapOffset: offset, size: size,
      physical: whole.first + offset, bus: bar.bus.map { $0 + offset },
      caching: claim.files.caching, isolation: .uidExclusive, source: .sysfs, label: "\(request)",
      lender: claim,
      witness: claim.files.isWatchable
        ? .perLease : claim.witnessAtOpening == .unknown ? .none : .fileLease,
      witnessAtOpening: claim.witnessAtOpening, attachment: claim)
  }

  /// The means to tell whether memory of `device` that is handed out is still reached. Watches the
  /// device's `resource` for a moment, or asks for a file lease on it, which changes nothing; takes
  /// no privilege.
  public static func witness(of device: Device) -> Witness {
    guard let directory = try? Directory(device.path.string),
      let file = try? directory.open("resource", isWritable: false)
    else { return .none }
    if (try? DescriptionWitness.canWatch(file)) == true { return .perLease }
    do throws(Errno) {
      _ = try file.isOpenElsewhere()
      return .fileLease
    } catch {
      // Without CAP_LEASE, which processes that open BARs have.
      return error == .permissionDenied ? .fileLease : .none
    }
  }

  /// Lets a device do DMA, which takes some of its memory being open; ends with the last of it.
  ///
  /// Stop the device before that: what it was told to do it would otherwise do later, to memory
  /// that may be somebody else's by then.
  public func enableBusMastering(of device: PCIAddress) throws(DeviceError) {
    try claims.enableBusMastering(of: device)
  }

  public func isPresent(_ device: PCIAddress) -> Bool { claims.isPresent(device) }
}
