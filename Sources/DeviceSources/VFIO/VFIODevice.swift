import CDeviceSources
import DeviceMemory
import GenPool
import LinuxSystem
public import PCIDevices
import Synchronization
import SystemPackage

/// A device that this process drives through VFIO. Its end gives the device back: the kernel resets
/// and disables it with the last descriptor and the last mapping, in whatever process.
public final class VFIODevice: Sendable {
  // Destroyed in this order: the device before its group.

  /// Which device it is, as it was when it was opened.
  public let device: Device
  private let descriptor: Descriptor
  /// Raised when the kernel wants the device back: it is being removed, or its driver unbound.
  /// Readable then, and every 10 s until all descriptors and mappings are gone. Nothing else ends
  /// the wait.
  let request: EventCounter
  /// Keeps other genpool processes from opening it through sysfs meanwhile.
  private let directory: DeviceDirectory?
  /// The group, and with it what the device can reach.
  public let group: VFIOGroup

  private let canReset: Bool
  /// The configuration space in the descriptor (`VFIO_PCI_CONFIG_REGION_INDEX`).
  private let configSpace: ConfigSpaceAccess
  private static let configRegion: UInt32 = 7
  /// The ranges that are handed out.
  private let claims = Mutex(ClaimTable())

  /// Where it sits.
  public var address: PCIAddress { device.address }

  /// Opens `device`, which is a member of `group`.
  init(_ device: Device, in group: VFIOGroup) throws(DeviceError) {
    self.device = device
    self.group = group
    let subject = "\(device.address)"
    let directory =
      try device.bars.contains(where: \.hasResourceFile) ? DeviceDirectory(of: device) : nil
    self.directory = directory
    if let directory, try !directory.changing({ directory.isAlone() }) {
      throw .system(
        SystemError(
          operation: "open through VFIO", subject: subject, errno: .resourceBusy,
          cause: "a genpool process has memory of it open through sysfs; detach its pools first"))
    }
    // VFIO's own answer is about its descriptors, not about mappings through sysfs.
    try directory?.refuseReached(device)
    descriptor = try group.open(device.address)
    var flags: UInt32 = 0
    try DeviceError.check(unsafe gs_vfio_device_flags(descriptor.rawValue, &flags), "ask", subject)
    guard flags & UInt32(GS_VFIO_IS_PCI) != 0 else {
      throw .invalid(subject: subject, problem: "VFIO does not know it as a PCI device")
    }
    canReset = flags & UInt32(GS_VFIO_CAN_RESET) != 0
    configSpace = ConfigSpaceAccess(
      start: try Self.region(Self.configRegion, of: descriptor, subject).fileOffset,
      subject: "COMMAND of \(subject)")
    request = try DeviceError.attempt("make", "an event", try EventCounter())
    try DeviceError.check(
      gs_vfio_watch_requests(descriptor.rawValue, request.rawValue), "watch for the removal of",
      subject)
  }

  /// A second descriptor of the device, to map its regions with. Whoever has it can do all that
  /// VFIO lets one do, to all of the device.
  func duplicate() throws(SystemError) -> Descriptor { try descriptor.duplicate() }

  // MARK: Regions

  /// Where a BAR is in the device's descriptor, and what of it can be mapped.
  public func region(_ bar: BAR.Index) throws(DeviceError) -> VFIORegion {
    // VFIO numbers a PCI device's BARs as PCI does (VFIO_PCI_BAR0_REGION_INDEX = 0, …).
    try Self.region(UInt32(bar.rawValue), of: descriptor, "BAR \(bar) of \(address)")
  }

  private static func region(
    _ index: UInt32, of descriptor: borrowing Descriptor, _ subject: String
  ) throws(DeviceError) -> VFIORegion {
    let number = descriptor.rawValue
    let answer = VFIORecord.read { bytes in
      unsafe gs_vfio_region_info(number, index, &bytes, bytes.count)
    }
    try DeviceError.check(answer.result, "ask VFIO for", subject)
    do throws(VFIORecord.Problem) {
      return try VFIORegion(answer.record ?? VFIORecord([]))
    } catch {
      throw .malformed(place: "VFIO's answer for \(subject)", problem: error.text)
    }
  }

  /// Keeps others from opening `range` of a BAR, until the claim's end.
  func claim(_ range: ClosedRange<UInt64>, of bar: BAR.Index) throws(DeviceError) -> VFIOClaim {
    try claims.withLock { claims throws(DeviceError) in
      try claims.claim(range, of: bar, address)
    }
    return VFIOClaim(range, bar, of: self)
  }

  fileprivate func release(_ claim: VFIOClaim) {
    claims.withLock { $0.release(claim.range, of: claim.bar) }
  }

  // MARK: What it may do

  /// The COMMAND register, as VFIO lets it be seen. PCI 3.0 section 6.2.2.
  public func command() throws(DeviceError) -> ConfigSpace.Command {
    try configSpace.command(in: descriptor)
  }

  /// Switches bits of COMMAND on or off: ``ConfigSpace/Command/busMaster`` is whether the device
  /// may do DMA, ``ConfigSpace/Command/memorySpace`` whether its BARs answer. Without the latter
  /// every mapping of them raises SIGBUS (``FaultGuard``).
  public func setCommand(
    _ bits: ConfigSpace.Command, to isOn: Bool
  ) throws(DeviceError) {
    let now = try command()
    let wanted = isOn ? now.union(bits) : now.subtracting(bits)
    guard wanted != now else { return }
    try configSpace.setCommand(wanted, in: descriptor)
    guard try command() == wanted else {
      throw .system(
        SystemError(
          operation: "change COMMAND of", subject: "\(address)", errno: .ioError))
    }
  }

  /// Resets the device. Its memory keeps its contents, its registers do not.
  /// - Throws: EOPNOTSUPP where it cannot be reset without others.
  public func reset() throws(DeviceError) {
    guard canReset else {
      throw .system(
        SystemError(
          operation: "reset", subject: "\(address)", errno: .notSupported,
          cause: "it has no reset of its own"))
    }
    try DeviceError.check(gs_vfio_reset(descriptor.rawValue), "reset", "\(address)")
  }
}

/// A part of a BAR that has been handed out; keeps its device open, and its end gives it back.
final class VFIOClaim: Sendable {
  fileprivate let range: ClosedRange<UInt64>
  fileprivate let bar: BAR.Index
  private let device: VFIODevice

  fileprivate init(_ range: ClosedRange<UInt64>, _ bar: BAR.Index, of device: VFIODevice) {
    self.range = range
    self.bar = bar
    self.device = device
  }

  deinit { device.release(self) }
}

extension VFIOClaim: DescriptorLender {
  func lend(for lending: Lending) throws(SystemError) -> Descriptor {
    device.group.noteIssue(of: device.address)
    return try device.duplicate()
  }

  /// The kernel shows whether anything is left only to a process that has let go of the group and
  /// opens it again: free until something was lent since then.
  func witness() -> WitnessAnswer { device.group.hasIssued(device.address) ? .unknown : .free }
}
