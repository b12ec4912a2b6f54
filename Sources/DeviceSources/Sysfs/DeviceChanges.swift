import Glibc
import LinuxSystem
import PCIDevices
import SystemPackage

/// What attaching a device changes about it, and what it was before.
///
/// | | attached | undone by the last user |
/// |---|---|---|
/// | `driver_override` | `genpool`, a name that no driver has, so that none binds | as it was |
/// | `enable` | counts one more | counts one less |
/// | COMMAND | memory space enabled | memory, I/O and bus-master bits as they were |
///
/// Bus mastering is its own: whoever switched it on drives the device, and switches it off in the
/// end, whoever else uses the device's memory.
///
/// A process that was killed leaves its changes behind. Who comes next finds the override, and
/// nobody else there: it takes over the dead one's count. It does not know what was before that, so
/// it clears the override in the end and leaves COMMAND alone. The same holds for the last of
/// several users, who found the override of the first.
struct DeviceChanges {
  private enum Override {
    /// The file is not there.
    case none
    /// What was in it, empty when nothing was.
    case was(String)
    /// `genpool`: somebody else's change.
    case inherited
  }

  private static let override = "driver_override"
  private static let enable = "enable"
  /// How the kernel prints no override.
  private static let nothing = "(null)"

  private var override = Override.none
  /// What COMMAND was, nil when that is not known.
  private var command: ConfigSpace.Command?
  /// The bits of COMMAND to change back.
  private var bits: ConfigSpace.Command = []
  /// How often the device had been enabled.
  private var countBefore: UInt64 = 0
  /// Whether it was enabled once more, so that this is to be taken back.
  private var isCounted = false
  /// Whether bus mastering was off and was switched on.
  private var isMaster = false

  /// Changes `device`. Only while ``DeviceDirectory/changing(_:)``. Undoes what it has done when it
  /// fails.
  /// - Parameter isAlone: whether no other process uses the device.
  init(
    _ device: Device, _ directory: DeviceDirectory, isAlone: Bool
  ) throws(DeviceError) {
    do throws(DeviceError) {
      try keepDriversOff(directory)
      try enable(device, directory, isAlone: isAlone)
      try enableMemory(device, directory)
    } catch {
      throw error.leaving(undo(directory, isLast: isAlone))
    }
  }

  private mutating func keepDriversOff(_ directory: DeviceDirectory) throws(DeviceError) {
    guard let text = try directory.attribute(Self.override) else { return }
    if text == DeviceDirectory.attachedOverride {
      override = .inherited
    } else {
      try directory.setAttribute(Self.override, to: DeviceDirectory.attachedOverride)
      override = .was(text == Self.nothing ? "" : text)
    }
  }

  private mutating func enable(
    _ device: Device, _ directory: DeviceDirectory, isAlone: Bool
  ) throws(DeviceError) {
    var isInherited = false
    if case .inherited = override { isInherited = true }
    if !isInherited { command = try directory.command() }
    guard let count = try directory.enableCount(Self.enable) else { return }
    countBefore = count
    // With any driver bound the kernel refuses (EBUSY), and it is that driver's business anyway.
    guard device.driver == nil else { return }
    // What enabling and disabling changes, and whoever used the device meanwhile.
    bits = [.ioSpace, .memorySpace, .busMaster]
    if isInherited && isAlone && count > 0 {
      countBefore -= 1
    } else {
      try directory.setAttribute(Self.enable, to: directory.isEmulated ? "\(count + 1)" : "1")
    }
    isCounted = true
  }

  private mutating func enableMemory(
    _ device: Device, _ directory: DeviceDirectory
  ) throws(DeviceError) {
    // A virtual function's memory space is enabled in its physical function (SR-IOV 1.1 3.3.3.1).
    guard !device.isVirtualFunction else { return }
    let now = try directory.command()
    guard !now.contains(.memorySpace) else { return }
    bits.insert(.memorySpace)
    try directory.setCommand(now.union(.memorySpace))
    guard try directory.command().contains(.memorySpace) else {
      throw .system(
        SystemError(
          operation: "enable memory space of", subject: "\(device.address)", errno: .ioError))
    }
  }

  /// Lets the device do DMA. Only while ``DeviceDirectory/changing(_:)``.
  mutating func enableBusMastering(_ directory: DeviceDirectory) throws(DeviceError) {
    let now = try directory.command()
    guard !now.contains(.busMaster) else { return }
    isMaster = true
    try directory.setCommand(now.union(.busMaster))
    guard try directory.command().contains(.busMaster) else {
      throw .system(
        SystemError(
          operation: "enable bus mastering of", subject: "\(directory.address)", errno: .ioError))
    }
  }

  /// Changes back what can be, whatever else fails.
  /// - Parameter isLast: whether no other process uses the device.
  /// - Returns: what could not be changed back; nothing when the device is gone.
  func undo(_ directory: DeviceDirectory, isLast: Bool) -> [DeviceError] {
    var failures: [DeviceError] = []
    func attempt<Result>(_ body: () throws(DeviceError) -> Result?) -> Result? {
      do throws(DeviceError) {
        return try body()
      } catch {
        if !error.isOfMissingDevice { failures.append(error) }
        return nil
      }
    }
    if isMaster {
      _ = attempt { () throws(DeviceError) in
        let now = try directory.command()
        if now.contains(.busMaster) { try directory.setCommand(now.subtracting(.busMaster)) }
      }
    }
    let count = attempt { () throws(DeviceError) in try directory.enableCount(Self.enable) }
    if isCounted, let count, count > 0 {
      _ = attempt { () throws(DeviceError) in
        try directory.setAttribute(Self.enable, to: directory.isEmulated ? "\(count - 1)" : "0")
      }
    }
    guard isLast else { return failures }
    // A higher count than we found is somebody who needs the device enabled.
    if let command, (count ?? 0) <= countBefore + (isCounted ? 1 : 0) {
      _ = attempt { () throws(DeviceError) in
        let now = try directory.command()
        let restored = now.subtracting(bits).union(command.intersection(bits))
        if restored != now { try directory.setCommand(restored) }
      }
    }
    _ = attempt { () throws(DeviceError) in
      guard try directory.attribute(Self.override) == DeviceDirectory.attachedOverride else {
        return
      }
      // The kernel takes an empty line for no override.
      var text = ""
      if case .was(let before) = override { text = before }
      if text.isEmpty && directory.isEmulated { text = Self.nothing }
      try directory.setAttribute(Self.override, to: text)
    }
    return failures
  }
}

extension DeviceError {
  /// Whether it only says that the device is not there any more.
  fileprivate var isOfMissingDevice: Bool {
    [ENODEV, ENOENT, ENXIO].contains(errno.rawValue)
  }
}

extension DeviceDirectory {
  /// How often the device has been enabled, nil when there is no such attribute.
  fileprivate func enableCount(_ name: String) throws(DeviceError) -> UInt64? {
    guard let text = try attribute(name) else { return nil }
    guard let count = UInt64(text), count < UInt64(Int32.max) else {
      throw .malformed(place: "\(name) of \(address)", problem: "\(quoted(text)) is not a count")
    }
    return count
  }
}
