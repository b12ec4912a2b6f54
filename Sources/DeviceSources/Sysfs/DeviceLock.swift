import Glibc
import LinuxSystem
import PCIDevices
import SystemPackage

/// The lock file of a device: it keeps genpool processes apart, and tells each whether it is alone.
///
/// Not a file of sysfs: those are passed on to clients, each of which could take a lock in the way.
/// This one is for root only, keyed by the device's address: `/run/genpool-locks/0000:01:00.0`. An
/// emulated tree has its own inside, so that trees with devices of the same address do not meet. A
/// container that uses a device together with its host must have the directory mounted.
///
/// A lock lives as long as this object, and ends with its process, however that ends.
final class DeviceLock: Sendable {
  private let file: Descriptor
  private let address: PCIAddress
  /// A forked child has the same locks, which are not its own to end.
  private let process = getpid()

  /// The directory of real devices' lock files.
  static let directory = "/run/genpool-locks"

  /// The bytes that are locked. The file is empty.
  private enum Byte {
    /// Locked for the length of a change.
    static let changing: UInt64 = 0
    /// Locked while the device is in use: shared through sysfs, exclusive through VFIO.
    static let inUse: UInt64 = 1
    /// Locked while a BAR is in use.
    static func bar(_ bar: BAR.Index) -> UInt64 { 2 + UInt64(bar.rawValue) }
  }

  /// The longest wait for another process that is attaching or detaching the device: 5 s.
  private static let timeout = (attempts: 500, microseconds: 10_000 as UInt32)

  /// Opens the lock file of `device`, and locks nothing.
  init(of device: Device, isEmulated: Bool) throws(DeviceError) {
    address = device.address
    var root = device.path
    // The device is ROOT/bus/pci/devices/ADDRESS.
    for _ in 0..<4 { root.removeLastComponent() }
    let directory = isEmulated ? root.appending("genpool-locks").string : Self.directory
    let name = "\(device.address)"
    do throws(Errno) {
      file = try .openLock(name, in: directory, isTrusted: !isEmulated)
    } catch {
      throw .system(
        SystemError(
          operation: "open", subject: "\(directory)/\(name)", errno: error,
          cause: Self.cause(of: error, directory)))
    }
  }

  private static func cause(of error: Errno, _ directory: String) -> String? {
    switch error {
    case .notPermitted: "\(directory) has to be root's, and for no other user to write to"
    case .permissionDenied, .noSuchFileOrDirectory, .readOnlyFileSystem:
      "genpool processes that use a device lock this file: it takes root, and in a service "
        + "ReadWritePaths=\(directory)"
    default: nil
    }
  }

  /// Runs `body` while no other genpool process attaches or detaches the device.
  /// - Throws: EBUSY after 5 s.
  func changing<Result>(_ body: () throws(DeviceError) -> Result) throws(DeviceError) -> Result {
    var attempts = Self.timeout.attempts
    while true {
      do throws(Errno) {
        try file.lock(byte: Byte.changing, isShared: false)
        break
      } catch {
        if error == .resourceTemporarilyUnavailable, attempts > 0 {
          attempts -= 1
          usleep(Self.timeout.microseconds)
          continue
        }
        let isBusy = error == .resourceTemporarilyUnavailable
        throw failure(
          error, isBusy ? "another process has been attaching or binding it for 5 s" : nil)
      }
    }
    defer { file.unlock(byte: Byte.changing) }
    return try body()
  }

  /// Whether no other genpool process uses the device; if so none can join until this one does, or
  /// this object ends. Only while ``changing(_:)``.
  func isAlone() -> Bool { (try? file.lock(byte: Byte.inUse, isShared: false)) != nil }

  /// Whether other genpool processes use the device through sysfs. Only while ``changing(_:)``.
  func isShared() throws(DeviceError) -> Bool {
    try DeviceError.attempt("lock", "\(address)", try file.isLockedShared(byte: Byte.inUse))
  }

  /// Lets others know that the device is in use, until this object ends. Only while
  /// ``changing(_:)``.
  /// - Throws: EBUSY when another genpool process has the device for itself.
  func join() throws(DeviceError) {
    do throws(Errno) {
      try file.lock(byte: Byte.inUse, isShared: true)
    } catch {
      throw failure(
        error,
        error == .resourceTemporarilyUnavailable
          ? "another process has it open through VFIO, or is binding it to another driver" : nil)
    }
  }

  /// Keeps other genpool processes from a BAR, until ``unlock(_:)``.
  /// - Throws: EBUSY when one has it.
  func lock(_ bar: BAR.Index) throws(DeviceError) {
    do throws(Errno) {
      try file.lock(byte: Byte.bar(bar), isShared: false)
    } catch {
      throw failure(
        error,
        error == .resourceTemporarilyUnavailable ? "another genpool process has it open" : nil,
        of: "BAR \(bar) of \(address)")
    }
  }

  /// Ends ``lock(_:)``.
  func unlock(_ bar: BAR.Index) {
    if getpid() == process { file.unlock(byte: Byte.bar(bar)) }
  }

  private func failure(
    _ error: Errno, _ cause: String?, of subject: String? = nil
  ) -> DeviceError {
    let isBusy = error == .resourceTemporarilyUnavailable
    return .system(
      SystemError(
        operation: "lock", subject: subject ?? "\(address)",
        errno: isBusy ? .resourceBusy : error, cause: cause))
  }
}
