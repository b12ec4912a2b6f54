import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
package import PCIDevices
import SystemPackage

/// A device's sysfs directory, held open, so that everything is done to one device even when
/// another one takes its address meanwhile: the files of a device that is gone cannot be opened any
/// more.
package final class DeviceDirectory: Sendable {
  /// What errors call the device.
  let address: PCIAddress
  /// Whether it is an ordinary directory: files keep what is written, and nothing happens.
  let isEmulated: Bool

  /// The `driver_override` of a device that is attached: a name that no driver has.
  package static let attachedOverride = "genpool"

  private let directory: Directory
  private let path: String
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
  package init(of device: Device) throws(DeviceError) {
    address = device.address
    path = device.path.string
    directory = try DeviceError.attempt("open", path, try Directory(path))
    isEmulated = try !DeviceError.attempt("examine", path, try directory.isSysfs())
    config = try DeviceError.attempt("open", "\(path)/config", try Self.openConfig(directory))
    guard let bar = device.bars.first(where: \.hasResourceFile) else {
      throw .invalid(subject: "\(address)", problem: "sysfs has no file for any of its BARs")
    }
    lockName = bar.resourceFile
    let file = "\(path)/\(bar.resourceFile)"
    lock = try DeviceError.attempt(
      "open", file, try directory.open(bar.resourceFile, isWritable: true))
  }

  /// For reading only where it cannot be written: enough as long as nothing has to be changed.
  private static func openConfig(_ directory: borrowing Directory) throws(Errno) -> Descriptor {
    do throws(Errno) {
      return try directory.open("config", isWritable: true)
    } catch .permissionDenied, .notPermitted, .readOnlyFileSystem {
      return try directory.open("config", isWritable: false)
    }
  }

  /// Whether the device has not been removed, nor another one plugged in at its address. Opens no
  /// file of a BAR, which would count as one that is open elsewhere.
  func isInPlace() -> Bool {
    guard let other = try? Directory(path) else { return false }
    return directory.isSame(as: other)
  }

  // MARK: Who else is there

  /// Does `body` while no other genpool process attaches or detaches the device.
  ///
  /// Two locks: one for the length of a change, and a shared one for as long as the device is in
  /// use, so that the last user knows to be the last, even after others have crashed.
  package func changing<Result>(
    _ body: () throws(DeviceError) -> Result
  ) throws(DeviceError) -> Result {
    var attempts = Self.patience.attempts
    while true {
      do throws(Errno) {
        try lock.lock(byte: LockedByte.changing, isShared: false)
        break
      } catch {
        if error == .resourceTemporarilyUnavailable, attempts > 0 {
          attempts -= 1
          usleep(Self.patience.microseconds)
          continue
        }
        let isBusy = error == .resourceTemporarilyUnavailable
        throw .system(
          SystemError(
            operation: "lock", subject: "\(address)", errno: isBusy ? .resourceBusy : error,
            cause: isBusy ? "another process has been attaching or binding it for 5 s" : nil))
      }
    }
    defer { lock.unlock(byte: LockedByte.changing) }
    return try body()
  }

  /// Whether no other genpool process uses the device; if so none can join until this one does, or
  /// this object ends. Only while ``changing(_:)``.
  package func isAlone() -> Bool {
    (try? lock.lock(byte: LockedByte.inUse, isShared: false)) != nil
  }

  /// Whether other genpool processes use the device through sysfs. Only while ``changing(_:)``.
  package func isShared() throws(DeviceError) -> Bool {
    try DeviceError.attempt(
      "lock", "\(address)", try lock.isLockedShared(byte: LockedByte.inUse))
  }

  /// Lets others know that the device is in use, until this object ends. Only while
  /// ``changing(_:)``.
  /// - Throws: EBUSY when another genpool process has the device for itself.
  func join() throws(DeviceError) {
    do throws(Errno) {
      try lock.lock(byte: LockedByte.inUse, isShared: true)
    } catch .resourceTemporarilyUnavailable {
      throw .system(
        SystemError(
          operation: "lock", subject: "\(address)", errno: .resourceBusy,
          cause: "another process has it open through VFIO, or is binding it to another driver"))
    } catch {
      throw .system(
        SystemError(
          operation: "lock", subject: "\(address)", errno: error,
          cause: DeviceError.cause(of: error)))
    }
  }

  // MARK: Files

  /// Whether another open file description of `file` is there, and not just to look at the device.
  static func witnessOfOthers(_ file: borrowing Descriptor) -> WitnessAnswer {
    for _ in 0..<20 {
      let answer = WitnessAnswer(of: file)
      guard answer == .reached else { return answer }
      usleep(5_000)
    }
    return .reached
  }

  /// Throws EBUSY when the kernel sees that a process reaches a BAR of `device` through sysfs.
  func refuseReached(_ device: Device) throws(DeviceError) {
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
  func open(_ name: String) throws(DeviceError) -> Descriptor {
    try DeviceError.attempt(
      "open", subject(name), try directory.open(name, isWritable: true))
  }

  /// Opens `name`, a BAR's file, for as long as this object lives: of the file that is open for its
  /// locks no second description, so that others' can be told.
  func openOnce(_ name: String) throws(DeviceError) -> Descriptor {
    guard name == lockName else { return try open(name) }
    do throws(SystemError) {
      return try lock.duplicate()
    } catch {
      throw .system(error)
    }
  }

  /// The only line of attribute `name`, nil when there is no such file.
  func attribute(_ name: String) throws(DeviceError) -> String? {
    let bytes: [UInt8]
    do throws(Errno) {
      bytes = try directory.attribute(name, limit: 4096)
    } catch .noSuchFileOrDirectory {
      return nil
    } catch {
      throw .system(
        SystemError(
          operation: "read", subject: subject(name), errno: error,
          cause: DeviceError.cause(of: error)))
    }
    return String(decoding: bytes.prefix { $0 != 10 }, as: UTF8.self)
  }

  /// Writes `line` to attribute `name`.
  func setAttribute(_ name: String, to line: String) throws(DeviceError) {
    try DeviceError.attempt(
      "write \(quoted(line)) to", subject(name),
      try directory.setAttribute(name, to: line + "\n"))
  }

  /// The COMMAND register now.
  func command() throws(DeviceError) -> ConfigSpace.Command {
    try configSpace.command(in: config)
  }

  /// Writes the COMMAND register.
  func setCommand(_ command: ConfigSpace.Command) throws(DeviceError) {
    try configSpace.setCommand(command, in: config)
  }

  private var configSpace: ConfigSpaceAccess {
    ConfigSpaceAccess(start: .zero, subject: subject("config"))
  }

  private func subject(_ name: String) -> String { "\(name) of \(address)" }
}

extension WitnessAnswer {
  /// Whether another open file description of `file` is there. An error means that the kernel
  /// cannot tell.
  init(of file: borrowing Descriptor) {
    guard let isOpen = try? file.isOpenElsewhere() else {
      self = .unknown
      return
    }
    self = isOpen ? .reached : .free
  }
}
