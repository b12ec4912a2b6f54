import CDeviceSources
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import PCIDevices
import SystemPackage

/// The open, locked file of a BAR that is mapped from.
///
/// One user of a BAR: the lock is on `resourceN`, exclusive. What is mapped is `resourceN_wc` where
/// there is one; on real sysfs that is a file of its own, so it is locked as well.
///
/// What is passed on to other processes is opened anew. An open file description lives as long as
/// any duplicate or mapping of it, in any process, and a file lease tells whether there is one
/// beside ours: so it is known whether a process still reaches the BAR, and a daemon that starts
/// again does not open memory that an orphan of its predecessor still maps. Where the kernel grants
/// no file leases the answer is ``WitnessAnswer/unknown``. A shared lock on the byte where the
/// range begins can only add that something is there: its holder can take it off, so its absence
/// means nothing.
final class BARFiles: Sendable {
  /// How the CPU treats accesses through ``descriptor()``.
  let caching: Caching
  /// The kernel's answer before the files were used: ``WitnessAnswer/free`` or
  /// ``WitnessAnswer/unknown``.
  let witnessAtOpening: WitnessAnswer

  /// What is mapped from.
  private let mapped: Descriptor
  private let mappedName: String
  private let directory: DeviceDirectory
  /// `resourceN` when that is another file; only its lock matters.
  private let lock: Descriptor?

  /// Opens and locks the files of `bar`, and sees that they can be mapped.
  init(
    _ bar: BAR, of device: Device, for contents: BARRequest.Contents, in directory: DeviceDirectory
  ) throws(DeviceError) {
    let subject = "BAR \(bar.index) of \(device.address)"
    let page = Int(pageSize)
    self.directory = directory
    let resource = try Self.open(bar.resourceFile, bar, directory)
    let answer = try Self.lock(resource, bar, subject, contents)
    if bar.hasWriteCombiningFile && contents != .registers {
      let file = try directory.open(bar.writeCombiningFile)
      // In an emulated tree the two are names of one file, and one lock.
      if !file.isSameFile(as: resource) {
        let fileAnswer = try Self.lock(file, bar, subject, contents)
        if gs_probe(file.rawValue, 0, page) == 0 {
          witnessAtOpening = answer.joined(with: fileAnswer)
          mapped = file
          mappedName = bar.writeCombiningFile
          lock = consume resource
          caching = directory.isEmulated ? .cached : .writeCombining
          return
        }
        // The processor may forbid it where the kernel maps the BAR uncached: then uncached it is,
        // unless that fails as well and tells why.
      }
    }
    let result = gs_probe(resource.rawValue, 0, page)
    guard result == 0 else {
      throw .system(
        SystemError(
          operation: "map", subject: subject, errno: Errno(rawValue: -result),
          cause: Self.cause(of: -result, device)))
    }
    witnessAtOpening = answer
    mapped = resource
    mappedName = bar.resourceFile
    lock = nil
    caching = directory.isEmulated ? .cached : .uncached
  }

  /// A new descriptor to map the BAR by, closed on exec.
  func descriptor() throws(DeviceError) -> Descriptor {
    do throws(SystemError) {
      return try mapped.duplicate()
    } catch {
      throw .system(error)
    }
  }

  /// A new descriptor to map the range from `offset` on by, for other processes.
  func lend(_ offset: UInt64) throws(DeviceError) -> Descriptor {
    let file = try directory.open(mappedName)
    try DeviceError.attempt("lock", mappedName, try file.lock(byte: offset, isShared: true))
    return file
  }

  /// Whether anything made of ``lend(_:)`` reaches the BAR.
  ///
  /// A file lease sees the whole file. A lock on the range's byte is evidence that something is
  /// there.
  func witness(_ offset: UInt64) -> WitnessAnswer {
    if (try? mapped.isLocked(byte: offset, count: 1)) == true { return .reached }
    return WitnessAnswer(of: mapped)
  }

  private static func open(
    _ name: String, _ bar: BAR, _ directory: DeviceDirectory
  ) throws(DeviceError) -> Descriptor {
    let file = try directory.openOnce(name)
    let size = try DeviceError.attempt(
      "examine", "\(name) of \(directory.address)", try file.fileSize())
    // Past the end of an emulated file every access would be a SIGBUS.
    guard size >= bar.size.rawValue else {
      throw .malformed(
        place: "\(name) of \(directory.address)",
        problem: "it has \(size) bytes, less than the BAR's \(bar.size.rawValue)")
    }
    return file
  }

  /// Keeps other genpool processes from the file.
  /// - Returns: ``WitnessAnswer/free``, or ``WitnessAnswer/unknown`` where the kernel cannot tell whether a
  ///   process still has it open. Not asked of registers, which are lent to no process: the file of a
  ///   device's first BAR, where those of many are, is open in all that use the device (``DeviceDirectory``).
  private static func lock(
    _ file: borrowing Descriptor, _ bar: BAR, _ subject: String, _ contents: BARRequest.Contents
  ) throws(DeviceError) -> WitnessAnswer {
    do throws(Errno) {
      try file.lockFile()
      let answer: WitnessAnswer =
        try file.isLocked(byte: 0, count: bar.size.rawValue)
        ? .reached : contents == .registers ? .unknown : DeviceDirectory.witnessOfOthers(file)
      guard answer == .reached else { return answer }
      file.unlockFile()
      throw .wouldBlock
    } catch .wouldBlock {
      throw .system(
        SystemError(
          operation: "lock", subject: subject, errno: .resourceBusy,
          cause: "another genpool user has it open, or a process still maps memory of it"))
    } catch {
      throw .system(
        SystemError(
          operation: "lock", subject: subject, errno: error, cause: DeviceError.cause(of: error)))
    }
  }

  /// Why the kernel does not let a BAR be mapped. Linux: `pci_mmap_resource`.
  private static func cause(of number: CInt, _ device: Device) -> String? {
    switch number {
    case EPERM: return "kernel lockdown: boot without secure boot and lockdown="
    case EINVAL:
      let claimant = device.driver.map { "driver \($0) has" } ?? "a part of the kernel has"
      return "\(claimant) claimed the memory, see /proc/iomem; such memory is not mapped "
        + "(CONFIG_IO_STRICT_DEVMEM)"
    case ENODEV: return "the device was removed"
    default: return nil
    }
  }
}
