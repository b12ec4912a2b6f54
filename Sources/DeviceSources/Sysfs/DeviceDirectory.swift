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
  private let lock: DeviceLock

  /// Opens the directory of `device`.
  package init(of device: Device) throws(DeviceError) {
    address = device.address
    path = device.path.string
    directory = try DeviceError.attempt("open", path, try Directory(path))
    isEmulated = try !DeviceError.attempt("examine", path, try directory.isSysfs())
    config = try DeviceError.attempt("open", "\(path)/config", try Self.openConfig(directory))
    lock = try DeviceLock(of: device, isEmulated: isEmulated)
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
    do throws(Errno) {
      return directory.isSame(as: try Directory(path))
    } catch {
      // Any other error says nothing of the device.
      return ![.noSuchFileOrDirectory, Errno(rawValue: ENODEV), .notDirectory].contains(error)
    }
  }

  /// Whether `name` is another file than `file`, which was opened by that name, or is none any
  /// more. Opens nothing: that would count as open elsewhere.
  func hasReplaced(_ name: String, _ file: borrowing Descriptor) -> Bool {
    do throws(Errno) {
      return try !directory.isName(name, of: file)
    } catch {
      // Any other error says nothing of the file.
      return error == .noSuchFileOrDirectory
    }
  }

  // MARK: Who else is there

  /// Runs `body` while no other genpool process attaches or detaches the device.
  package func changing<Result>(
    _ body: () throws(DeviceError) -> Result
  ) throws(DeviceError) -> Result {
    try lock.changing(body)
  }

  /// Whether no other genpool process uses the device; if so none can join until this one does, or
  /// this object ends. Only while ``changing(_:)``.
  package func isAlone() -> Bool { lock.isAlone() }

  /// Whether other genpool processes use the device through sysfs. Only while ``changing(_:)``.
  package func isShared() throws(DeviceError) -> Bool { try lock.isShared() }

  /// Lets others know that the device is in use, until this object ends. Only while
  /// ``changing(_:)``.
  func join() throws(DeviceError) { try lock.join() }

  /// Keeps other genpool processes from a BAR, until ``unlock(_:)``.
  func lock(_ bar: BAR.Index) throws(DeviceError) { try lock.lock(bar) }

  /// Ends ``lock(_:)``.
  func unlock(_ bar: BAR.Index) { lock.unlock(bar) }

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
        guard Self.witnessOfOthers(try open(name)) == .reached else { continue }
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

  /// The only line of attribute `name`, nil when there is no such file.
  func attribute(_ name: String) throws(DeviceError) -> String? {
    try content(of: name).map { String(decoding: $0.prefix { $0 != 10 }, as: UTF8.self) }
  }

  /// The places of the BARs now; nil when the device is gone.
  func resource() throws(DeviceError) -> ResourceTable? {
    guard let content = try content(of: "resource") else { return nil }
    return try ResourceTable(AttributeText(content, at: subject("resource")))
  }

  /// The bytes of attribute `name`, nil when there is no such file.
  private func content(of name: String) throws(DeviceError) -> [UInt8]? {
    do throws(Errno) {
      return try directory.attribute(name, limit: 4096)
    } catch .noSuchFileOrDirectory {
      return nil
    } catch {
      throw .system(
        SystemError(
          operation: "read", subject: subject(name), errno: error,
          cause: DeviceError.cause(of: error)))
    }
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
  /// The kernel's answer to `isReached`. An error means that the kernel cannot tell.
  init(_ isReached: () throws(Errno) -> Bool) {
    do throws(Errno) {
      self = try isReached() ? .reached : .free
    } catch {
      self = .unknown
    }
  }

  /// Whether another open file description of `file` is there. An error means that the kernel
  /// cannot tell.
  init(of file: borrowing Descriptor) {
    self.init { () throws(Errno) in try file.isOpenElsewhere() }
  }
}
