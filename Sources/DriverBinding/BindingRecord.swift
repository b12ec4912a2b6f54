import DeviceSources
import Glibc
import LinuxSystem
public import PCIDevices
import SystemPackage

/// What a device had before it was bound: the way back. One small file a device below `/run`, gone
/// after a reboot, as the binding is.
public struct BindingRecord: Hashable, Sendable, CustomStringConvertible {
  /// The driver; nil when there was none.
  public let driver: String?
  /// What `driver_override` said; empty when nothing.
  public let override: String
  /// Whose record it is: another device may have been plugged in since.
  public let identity: DeviceIdentity

  public init(driver: String?, override: String, identity: DeviceIdentity) {
    self.driver = driver
    self.override = override
    self.identity = identity
  }

  /// `driver nvme, no override`.
  public var description: String {
    "driver \(driver ?? "none"), " + (override.isEmpty ? "no override" : "override \(override)")
  }

  // MARK: Its file

  /// One fact a line, so that people can read it.
  package var text: String { "driver=\(driver ?? "")\noverride=\(override)\nids=\(identity)\n" }

  /// What `text` says; nil unless it is ``text`` of a record.
  package init?(text: String) {
    var facts: [Substring: String] = [:]
    for line in text.split(separator: "\n") {
      let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2 else { return nil }
      facts[parts[0]] = String(parts[1])
    }
    guard let driver = facts["driver"], let override = facts["override"],
      let identity = facts["ids"].flatMap({ DeviceIdentity($0) })
    else { return nil }
    self.init(driver: driver.isEmpty ? nil : driver, override: override, identity: identity)
  }

  /// Where records are: `/run/genpool/bindings`, for another root than /sys below that root.
  static func directory(under root: SysfsRoot) -> FilePath {
    let base: FilePath = root.path == "/sys" ? "/run" : root.path.appending("run")
    return base.appending("genpool/bindings")
  }

  /// The record of the device at `address`; nil when there is none, or one that cannot be read.
  static func read(of address: PCIAddress, under root: SysfsRoot) -> BindingRecord? {
    let path = directory(under: root).appending(address.description)
    guard let bytes = try? SysfsNode(path: path.string).bytes(limit: 4096) else { return nil }
    return BindingRecord(text: String(decoding: bytes, as: UTF8.self))
  }

  /// Keeps this record of how the device is now, unless it is bound already: the first binding
  /// knows best what was before.
  /// - Returns: whether it was written.
  func keep(of address: PCIAddress, under root: SysfsRoot) throws(DeviceError) -> Bool {
    let known = Self.read(of: address, under: root)
    if let known, known.identity == identity, !override.isEmpty { return false }
    let directory = Self.directory(under: root)
    let path = directory.appending(address.description)
    do {
      try Self.makeDirectories(directory)
      let file = try FileDescriptor.open(
        path, .writeOnly, options: [.create, .truncate, .noFollow],
        permissions: [.ownerReadWrite, .groupRead, .otherRead])
      try file.closeAfter { _ = try file.writeAll(text.utf8) }
    } catch {
      throw .system(
        SystemError(
          operation: "write", subject: path.string, errno: error as? Errno ?? .ioError))
    }
    return true
  }

  static func remove(of address: PCIAddress, under root: SysfsRoot) {
    // What is left behind names ids, and is overwritten the next time.
    unsafe unlink(directory(under: root).appending(address.description).string)
  }

  private static func makeDirectories(_ path: FilePath) throws {
    if unsafe mkdir(path.string, 0o755) == 0 || errno == EEXIST { return }
    let number = errno
    guard number == ENOENT else { throw Errno(rawValue: number) }
    try makeDirectories(path.removingLastComponent())
    guard unsafe mkdir(path.string, 0o755) == 0 || errno == EEXIST else {
      throw Errno(rawValue: errno)
    }
  }
}
