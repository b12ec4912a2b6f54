import CDeviceSources
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import PCIDevices
import SystemPackage

/// The open file of a BAR that is mapped from: `resourceN_wc` where there is one, else `resourceN`.
///
/// A BAR has one user among genpool processes: ``DeviceDirectory/lock(_:)``, on no file of the BAR.
/// What is passed on to other processes is opened anew. An open file description lives as long as
/// any duplicate or mapping of it, in any process. Of a file that can be polled, as sysfs's are,
/// ``DescriptionWitness`` tells which descriptions are left; of a regular file a file lease tells
/// whether there is one beside ours. A file lease also keeps a daemon that starts again from memory
/// that an orphan of its predecessor still maps, where the kernel grants one (not for sysfs since
/// Linux 7.0).
final class BARFiles: Sendable {
  /// How the CPU treats accesses through ``descriptor()``.
  let caching: Caching
  /// The kernel's answer before the files were used: ``WitnessAnswer/free`` or
  /// ``WitnessAnswer/unknown``.
  let witnessAtOpening: WitnessAnswer

  /// Whether descriptions of the mapped file can be watched one by one.
  let isWatchable: Bool

  /// What is mapped from.
  private let mapped: Descriptor
  private let mappedName: String
  /// The mapped file's length when it was opened, in bytes.
  private let length: UInt64
  private let directory: DeviceDirectory
  private let bar: BAR.Index
  /// The place of the BAR when it was opened.
  private let place: AddressRange<PhysicalSpace>?

  /// A file that can be mapped, and what is known of it.
  private struct Mappable: ~Copyable {
    let file: Descriptor
    let name: String
    let caching: Caching
    let witnessAtOpening: WitnessAnswer
    let isWatchable: Bool
    let length: UInt64
  }

  /// Opens the files of `bar`, locks it, and sees that it can be mapped.
  init(
    _ bar: BAR, of device: Device, for contents: BARRequest.Contents, in directory: DeviceDirectory
  ) throws(DeviceError) {
    try directory.lock(bar.index)
    let mappable: Mappable
    do throws(DeviceError) {
      mappable = try Self.mappable(bar, of: device, for: contents, in: directory)
    } catch {
      // An object that was not made has no deinit.
      directory.unlock(bar.index)
      throw error
    }
    self.directory = directory
    self.bar = bar.index
    place = bar.physical
    caching = mappable.caching
    witnessAtOpening = mappable.witnessAtOpening
    isWatchable = mappable.isWatchable
    mappedName = mappable.name
    length = mappable.length
    mapped = mappable.file
  }

  deinit { directory.unlock(bar) }

  /// Whether the BAR lies where it did when it was opened, with the same size, behind the same
  /// file. Reads one file. What cannot be found out counts as unchanged.
  func presence() -> RangePresence {
    guard directory.isInPlace() else { return .gone }
    do throws(DeviceError) {
      guard let table = try directory.resource() else { return .gone }
      guard table.rows[bar.rawValue]?.range == place else { return .moved }
      return directory.hasReplaced(mappedName, mapped) ? .fileReplaced : .inPlace
    } catch {
      guard case .system(let error) = error, error.errno == Errno(rawValue: ENODEV) else {
        return .inPlace
      }
      return .gone
    }
  }

  private static func mappable(
    _ bar: BAR, of device: Device, for contents: BARRequest.Contents, in directory: DeviceDirectory
  ) throws(DeviceError) -> Mappable {
    let subject = "BAR \(bar.index) of \(device.address)"
    let page = Int(pageSize)
    let resource = try open(bar.resourceFile, bar, directory)
    let answer = try refuseReached(resource, subject, contents)
    if bar.hasWriteCombiningFile && contents != .registers {
      let file = try directory.open(bar.writeCombiningFile)
      // In an emulated tree the two are names of one file.
      if !file.isSameFile(as: resource) {
        let fileAnswer = try refuseReached(file, subject, contents)
        if gs_probe(file.rawValue, 0, page) == 0 {
          let isWatchable = try isWatchable(file, subject)
          let length = try length(of: file, subject)
          return Mappable(
            file: file, name: bar.writeCombiningFile,
            caching: directory.isEmulated ? .cached : .writeCombining,
            witnessAtOpening: answer.joined(with: fileAnswer),
            isWatchable: isWatchable, length: length)
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
          cause: cause(of: -result, device)))
    }
    let isWatchable = try isWatchable(resource, subject)
    let length = try length(of: resource, subject)
    return Mappable(
      file: resource, name: bar.resourceFile,
      caching: directory.isEmulated ? .cached : .uncached, witnessAtOpening: answer,
      isWatchable: isWatchable, length: length)
  }

  private static func length(
    of file: borrowing Descriptor, _ subject: String
  ) throws(DeviceError) -> UInt64 {
    try DeviceError.attempt("examine", subject, try file.fileSize())
  }

  private static func isWatchable(
    _ file: borrowing Descriptor, _ subject: String
  ) throws(DeviceError) -> Bool {
    do throws(Errno) {
      return try DescriptionWitness.canWatch(file)
    } catch {
      throw .system(SystemError(operation: "watch", subject: subject, errno: error))
    }
  }

  /// A new descriptor to map the BAR by, closed on exec.
  func descriptor() throws(DeviceError) -> Descriptor {
    do throws(SystemError) {
      return try mapped.duplicate()
    } catch {
      throw .system(error)
    }
  }

  /// A descriptor of an open file description of its own, for other processes.
  func lend() throws(DeviceError) -> Descriptor { try directory.open(mappedName) }

  /// Whether the whole file has another open file description, by a file lease.
  func witness() -> WitnessAnswer { WitnessAnswer(of: mapped) }

  /// Puts the mapped file back to its length if that of an emulated tree was made shorter.
  ///
  /// A process with a descriptor of it can do that; files of tmpfs have no seals. A file that has
  /// gone with its device stays as it is.
  func restoreLength() throws(SystemError) -> FileLength {
    guard directory.isEmulated else { return .notApplicable }
    do throws(Errno) {
      guard let found = try mapped.lengthOfNamedFile() else { return .notApplicable }
      guard found < length else { return .intact }
      guard directory.isInPlace() else { return .notApplicable }
      try mapped.setFileLength(length)
      return .truncated(to: ByteCount(found))
    } catch {
      throw SystemError(
        operation: "restore the length of", subject: "\(mappedName) of \(directory.address)",
        errno: error)
    }
  }

  private static func open(
    _ name: String, _ bar: BAR, _ directory: DeviceDirectory
  ) throws(DeviceError) -> Descriptor {
    let file = try directory.open(name)
    let size = try DeviceError.attempt(
      "examine", "\(name) of \(directory.address)", try file.fileSize())
    // Past the end of an emulated file every access would be a SIGBUS.
    guard size >= bar.size.rawValue else {
      throw .malformed(
        place: "\(name) of \(directory.address)",
        problem: "it has \(size) bytes, less than the BAR's \(bar.size.rawValue)"
          + (directory.isEmulated ? ": truncate -s \(bar.size.rawValue) restores it" : ""))
    }
    return file
  }

  /// Asks the kernel whether a process has the file open or mapped. Not for registers, which are
  /// lent to no process.
  /// - Returns: ``WitnessAnswer/free``, or ``WitnessAnswer/unknown`` where the kernel cannot tell.
  /// - Throws: EBUSY when one has.
  private static func refuseReached(
    _ file: borrowing Descriptor, _ subject: String, _ contents: BARRequest.Contents
  ) throws(DeviceError) -> WitnessAnswer {
    let answer: WitnessAnswer =
      contents == .registers ? .unknown : DeviceDirectory.witnessOfOthers(file)
    guard answer != .reached else {
      throw .system(
        SystemError(
          operation: "lock", subject: subject, errno: .resourceBusy,
          cause: "a process has it open, or still maps memory of it"))
    }
    return answer
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
