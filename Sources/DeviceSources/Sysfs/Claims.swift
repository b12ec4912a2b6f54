import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import PCIDevices
import Synchronization
import SystemPackage

/// Which ranges of which devices a source has handed out. Keeps the devices attached and their
/// files locked until the last range of each is given back.
final class Claims: Sendable {
  private struct AttachedDevice {
    let attachment: DeviceAttachment
    /// Of each BAR that a range is claimed of.
    var files: [BAR.Index: BARFiles]
    var claimed: ClaimTable
  }

  private let report: @Sendable (DeviceError) -> Void

  /// No claims yet. `report` is called for all that could not be undone when a device is given
  /// back.
  init(report: @escaping @Sendable (DeviceError) -> Void) {
    self.report = report
  }

  /// Also keeps two threads from attaching one device at a time.
  private let devices = Mutex<[PCIAddress: AttachedDevice]>([:])

  /// Claims `range` of a BAR of `device`, attaching the device and opening the BAR as needed.
  /// - Parameter confirm: called once the device was attached anew, when no driver can bind to it any
  ///   more: the last word on whether it may be.
  func claim(
    _ range: ClosedRange<UInt64>, of bar: BAR, _ device: Device, for contents: BARRequest.Contents,
    confirm: () throws(DeviceError) -> Void
  ) throws(DeviceError) -> Claim {
    let (files, answer) = try devices.withLock {
      devices throws(DeviceError) -> (BARFiles, WitnessAnswer) in
      guard var attached = devices[device.address] else {
        let directory = try DeviceDirectory(of: device)
        // In this order a device that somebody else uses is not even changed.
        let files = try BARFiles(bar, of: device, for: contents, in: directory)
        let attachment = try DeviceAttachment(device, in: directory, report: report)
        try confirm()
        var claimed = ClaimTable()
        try claimed.claim(range, of: bar.index, device.address)
        devices[device.address] = AttachedDevice(
          attachment: attachment, files: [bar.index: files], claimed: claimed)
        return (files, files.witnessAtOpening)
      }
      guard attached.attachment.directory.isInPlace() else {
        throw .overlapping(
          subject: "BAR \(bar.index) of \(device.address)",
          problem: "another device was plugged in there while memory of the old one is still held")
      }
      let files: BARFiles
      let answer: WitnessAnswer
      if let known = attached.files[bar.index] {
        files = known
        // The answer of its opening is of another time.
        answer = known.witness()
      } else {
        files = try BARFiles(bar, of: device, for: contents, in: attached.attachment.directory)
        attached.files[bar.index] = files
        answer = files.witnessAtOpening
      }
      try attached.claimed.claim(range, of: bar.index, device.address)
      devices[device.address] = attached
      return (files, answer)
    }
    return Claim(range, bar.index, device.address, files, answer, in: self)
  }

  /// Lets the device at `address` do DMA until its last range is given back.
  func enableBusMastering(of address: PCIAddress) throws(DeviceError) {
    try devices.withLock { devices throws(DeviceError) in
      guard let attached = devices[address] else {
        throw .invalid(subject: "\(address)", problem: "none of its memory has been opened")
      }
      try attached.attachment.enableBusMastering()
    }
  }

  /// Whether the device at `address` that is attached has not been removed.
  ///
  /// A device that is being reset answers with all-ones for a moment: it is looked at again for as
  /// long as a function-level reset takes. PCIe 4.0 section 6.6.2: 100 ms.
  func isPresent(_ address: PCIAddress) -> Bool {
    for _ in 0..<Self.looks {
      if let isPresent = isPresentNow(address) { return isPresent }
      usleep(Self.pause)
    }
    return isPresentNow(address) ?? false
  }

  /// The number of looks before the last at a device that answers with all-ones, and the
  /// microseconds after each.
  private static let looks = 6, pause: UInt32 = 20_000

  /// Nil while the device answers with all-ones.
  private func isPresentNow(_ address: PCIAddress) -> Bool? {
    devices.withLock { devices in
      guard let attached = devices[address],
        attached.files.values.allSatisfy({ $0.presence() == .inPlace })
      else { return false }
      let directory = attached.attachment.directory
      guard directory.isInPlace() else { return false }
      // The files of a device that is being removed cannot be read any more; and all-ones are the
      // answer of none. PCI 3.0 section 6.2.2: bits 15:11 of COMMAND read as 0.
      guard let command = try? directory.command() else { return false }
      return command.rawValue == .max ? nil : true
    }
  }

  /// Gives a range back; with the last one its BAR and its device.
  fileprivate func release(_ claim: Claim) {
    devices.withLock { devices in
      guard var attached = devices[claim.device] else { return }
      attached.claimed.release(claim.range, of: claim.bar)
      if !attached.claimed.contains(claim.bar) { attached.files[claim.bar] = nil }
      devices[claim.device] = attached.claimed.isEmpty ? nil : attached
    }
  }
}

/// A range that a source has handed out; its end gives the range back.
final class Claim: Sendable {
  fileprivate let range: ClosedRange<UInt64>
  fileprivate let bar: BAR.Index
  fileprivate let device: PCIAddress
  /// The files of the range's BAR.
  let files: BARFiles
  /// Whether something that was handed out of the BAR before still reached it when the range was
  /// claimed.
  let witnessAtOpening: WitnessAnswer

  /// Which descriptions that were lent are left, where they can be watched.
  fileprivate let lent: DescriptionWitness?

  private let claims: Claims

  fileprivate init(
    _ range: ClosedRange<UInt64>, _ bar: BAR.Index, _ device: PCIAddress, _ files: BARFiles,
    _ witnessAtOpening: WitnessAnswer, in claims: Claims
  ) {
    self.range = range
    self.bar = bar
    self.device = device
    self.files = files
    self.witnessAtOpening = witnessAtOpening
    lent = files.isWatchable ? DescriptionWitness() : nil
    self.claims = claims
  }

  deinit { claims.release(self) }
}

extension Claim: DescriptorLender {
  func lend(for lending: Lending) throws(SystemError) -> Descriptor {
    let descriptor: Descriptor
    do throws(DeviceError) {
      descriptor = try files.lend()
    } catch {
      throw error.asSystemError
    }
    guard let lent else { return descriptor }
    do throws(Errno) {
      // Before it is passed on: what is not watched is not lent.
      try lent.watch(descriptor, key: lending.rawValue)
    } catch {
      throw SystemError(
        operation: "watch", subject: "BAR \(bar) of \(device)", errno: error,
        cause: error == .noSpace ? "too many watches: fs.epoll.max_user_watches" : nil)
    }
    return descriptor
  }

  func witness() -> WitnessAnswer {
    guard let lent else { return files.witness() }
    return WitnessAnswer { () throws(Errno) in try lent.holdsAny() }
  }

  func witness(of lending: Lending) -> WitnessAnswer {
    guard let lent else { return .unknown }
    return WitnessAnswer { () throws(Errno) in try lent.holds(key: lending.rawValue) }
  }

  func restoreLength() throws(SystemError) -> FileLength { try files.restoreLength() }

  func presence() -> RangePresence { files.presence() }

  func forget(_ lending: Lending) { lent?.forget(key: lending.rawValue) }
}
