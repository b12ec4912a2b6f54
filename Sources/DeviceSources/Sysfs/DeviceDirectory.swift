import CDeviceSources
import DeviceMemory
import GenPool
import Glibc
import PCIDevices
import SystemPackage

/// A device's sysfs directory, held open, so that everything is done to one device even when another
/// one takes its address meanwhile: the files of a device that is gone cannot be opened any more.
final class DeviceDirectory: Sendable {
  /// What errors call the device.
  let address: PCIAddress
  /// Whether it is an ordinary directory: files keep what is written, and nothing happens.
  let isEmulated: Bool

  private let directory: Descriptor
  private let config: Descriptor
  /// The file of the device's first BAR. Only its locks matter; all who use the device agree on it,
  /// and nobody but root can open it and get in their way.
  private let lock: Descriptor
  private let lockName: String

  /// The bytes of ``lock`` that are locked: past all BARs, whose own bytes ``BARFiles`` locks.
  private enum LockedByte {
    /// For the length of a change.
    static let changing: UInt64 = 1 << 62
    /// For as long as the device is in use: shared through sysfs, exclusive through VFIO.
    static let inUse: UInt64 = changing + 1
  }

  /// How long to wait for another process that is attaching or detaching the device: 5 s.
  private static let patience = (attempts: 500, microseconds: 10_000 as UInt32)

  /// Opens the directory of `device`.
  init(of device: Device) throws(AttachError) {
    address = device.address
    let path = device.path.string
    directory = Descriptor(
      owning: try check("open", path, unsafe gs_open_directory(path)))
    isEmulated = try check("examine", path, gs_is_sysfs(directory.rawValue)) == 0
    var number = unsafe gs_open(directory.rawValue, "config", 1)
    if [-EACCES, -EPERM, -EROFS].contains(number) {
      // Enough as long as nothing has to be changed.
      number = unsafe gs_open(directory.rawValue, "config", 0)
    }
    config = Descriptor(owning: try check("open", "\(path)/config", number))
    guard let bar = device.bars.first(where: \.hasResourceFile) else {
      throw .invalid(subject: "\(address)", problem: "sysfs has no file for any of its BARs")
    }
    lockName = bar.resourceFile
    let file = "\(path)/\(bar.resourceFile)"
    lock = Descriptor(
      owning: try check("open", file, unsafe gs_open(directory.rawValue, bar.resourceFile, 1)))
  }

  /// Whether `device` is the same one, and not one that was plugged in later at its address. Opens no file of
  /// a BAR, which would count as one that is open elsewhere.
  func isDirectory(of device: Device) -> Bool {
    let number = unsafe gs_open_directory(device.path.string)
    guard number >= 0 else { return false }
    let other = Descriptor(owning: number)
    return gs_is_same_file(directory.rawValue, other.rawValue) == 1
  }

  // MARK: Who else is there

  /// Does `body` while no other genpool process attaches or detaches the device.
  ///
  /// Two locks: one for the length of a change, and a shared one for as long as the device is in use,
  /// so that the last user knows to be the last, even after others have crashed.
  func changing<Result>(
    _ body: () throws(AttachError) -> Result
  ) throws(AttachError) -> Result {
    var result = gs_lock_byte_exclusive(lock.rawValue, LockedByte.changing)
    for _ in 0..<Self.patience.attempts where result == -EAGAIN {
      usleep(Self.patience.microseconds)
      result = gs_lock_byte_exclusive(lock.rawValue, LockedByte.changing)
    }
    guard result == 0 else {
      throw .system(
        SystemError(
          operation: "lock", subject: "\(address)",
          errno: result == -EAGAIN ? .resourceBusy : Errno(rawValue: -result),
          cause: result == -EAGAIN
            ? "another process has been attaching or binding it for 5 s" : nil))
    }
    defer { _ = gs_unlock_byte(lock.rawValue, LockedByte.changing) }
    return try body()
  }

  /// Whether no other genpool process uses the device; if so none can join until this one does, or
  /// this object ends. Only while ``changing(_:)``.
  func isAlone() -> Bool { gs_lock_byte_exclusive(lock.rawValue, LockedByte.inUse) == 0 }

  /// Whether other genpool processes use the device through sysfs. Only while ``changing(_:)``.
  func isShared() throws(AttachError) -> Bool {
    try check("lock", "\(address)", gs_is_locked_shared(lock.rawValue, LockedByte.inUse)) == 1
  }

  /// Lets others know that the device is in use, until this object ends. Only while ``changing(_:)``.
  /// - Throws: EBUSY when another genpool process has the device for itself.
  func join() throws(AttachError) {
    let result = gs_lock_byte_shared(lock.rawValue, LockedByte.inUse)
    guard result != -EAGAIN else {
      throw .system(
        SystemError(
          operation: "lock", subject: "\(address)", errno: .resourceBusy,
          cause: "another process has it open through VFIO, or is binding it to another driver"))
    }
    try check("lock", "\(address)", result)
  }

  // MARK: Files

  /// Whether another open file description of `file` is there, and not just to look at the device.
  static func witnessOfOthers(_ file: borrowing Descriptor) -> WitnessAnswer {
    for _ in 0..<20 {
      let answer = WitnessAnswer(gs_is_open_elsewhere(file.rawValue))
      guard answer == .reached else { return answer }
      usleep(5_000)
    }
    return .reached
  }

  /// Throws EBUSY when the kernel sees that a process reaches a BAR of `device` through sysfs.
  func refuseReached(_ device: Device) throws(AttachError) {
    for bar in device.bars where bar.hasResourceFile {
      for name in [bar.resourceFile] + (bar.hasWriteCombiningFile ? [bar.writeCombiningFile] : []) {
        guard Self.witnessOfOthers(try openOnce(name)) == .reached else { continue }
        throw .system(
          SystemError(
            operation: "open through VFIO", subject: "\(address)", errno: .resourceBusy,
            cause: "a process still maps BAR \(bar.index) through sysfs"))
      }
    }
  }

  /// Opens `name`, a BAR's file, for reading and writing.
  func open(_ name: String) throws(AttachError) -> Descriptor {
    let number = unsafe gs_open(directory.rawValue, name, 1)
    return Descriptor(owning: try check("open", subject(name), number))
  }

  /// Opens `name`, a BAR's file, for as long as this object lives: of the file that is open for its locks
  /// no second description, so that others' can be told.
  func openOnce(_ name: String) throws(AttachError) -> Descriptor {
    guard name == lockName else { return try open(name) }
    do throws(SystemError) {
      return try lock.duplicate()
    } catch {
      throw .system(error)
    }
  }

  /// The only line of attribute `name`, nil when there is no such file.
  func attribute(_ name: String) throws(AttachError) -> String? {
    var text = [CChar](repeating: 0, count: 4096)
    let length = unsafe gs_read_attribute(directory.rawValue, name, &text, text.count)
    guard length != -ENOENT else { return nil }
    let bytes = text.prefix(Int(try check("read", subject(name), length)))
    let line = bytes.prefix { $0 != 10 }.map { UInt8(bitPattern: $0) }
    return String(decoding: line, as: UTF8.self)
  }

  /// Writes `line` to attribute `name`.
  func setAttribute(_ name: String, to line: String) throws(AttachError) {
    let text = line + "\n"
    let result = unsafe gs_write_attribute(directory.rawValue, name, text, text.utf8.count)
    try check("write \(quoted(line)) to", subject(name), result)
  }

  /// The COMMAND register now.
  func command() throws(AttachError) -> ConfigSpace.Command {
    var bytes: [UInt8] = [0, 0]
    let offset = ConfigSpace.commandOffset.rawValue
    let result = unsafe gs_read(config.rawValue, offset, &bytes, bytes.count)
    try check("read", subject("config"), result)
    return ConfigSpace.Command(rawValue: UInt16(bytes[0]) | UInt16(bytes[1]) << 8)
  }

  /// Writes the COMMAND register.
  func setCommand(_ command: ConfigSpace.Command) throws(AttachError) {
    let bytes = [UInt8(truncatingIfNeeded: command.rawValue), UInt8(command.rawValue >> 8)]
    let offset = ConfigSpace.commandOffset.rawValue
    let result = unsafe gs_write(config.rawValue, offset, bytes, bytes.count)
    try check("write", subject("config"), result)
  }

  private func subject(_ name: String) -> String { "\(name) of \(address)" }
}

/// `result` unless it is a negated errno.
@discardableResult
func check(
  _ operation: String, _ subject: String, _ result: CInt
) throws(AttachError) -> CInt {
  guard result < 0 else { return result }
  throw .system(
    SystemError(
      operation: operation, subject: subject, errno: Errno(rawValue: -result),
      cause: cause(of: -result)))
}

/// Why the kernel answers so when asked to open or write a device's file.
private func cause(of number: CInt) -> String? {
  switch number {
  case EACCES: "that takes root or CAP_DAC_OVERRIDE"
  case EPERM: "that takes CAP_SYS_ADMIN, and a kernel that is not locked down"
  case EROFS: "sysfs is mounted read-only here; in a service, see ReadWritePaths=/sys/devices"
  case ENODEV, ENOENT: "the device was removed, or never had the file"
  case EINVAL: "it is not a regular file"
  default: nil
  }
}

extension WitnessAnswer {
  /// The answer of ``gs_is_open_elsewhere``, whose errors mean that the kernel cannot tell.
  init(_ result: CInt) {
    self =
      switch result {
      case 0: .free
      case 1: .reached
      default: .unknown
      }
  }
}
