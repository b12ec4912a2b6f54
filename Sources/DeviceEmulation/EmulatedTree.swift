import Glibc
import LinuxSystem
public import PCIDevices
public import SystemPackage

/// A directory that looks like `/sys` of a machine with chosen PCI devices, for running genpool
/// without them: `config` and `resource` files as the kernel writes them, sparse files for BARs.
///
/// ```
/// ROOT/devices/pci0000:00/0000:01:00.0/{vendor,config,resource,resource2,resource2_wc,…}
/// ROOT/bus/pci/devices/0000:01:00.0 -> ../../../devices/pci0000:00/0000:01:00.0
/// ROOT/kernel/iommu_groups/7/devices/0000:01:00.0 -> …
/// ```
/// A device is complete before its link under `bus` appears, and its link goes first: who reads the
/// tree meanwhile, or watches that directory, sees whole devices only. One writer at a time, kept
/// by a lock on the marker file.
public struct EmulatedTree: Sendable {
  /// The root, as readers are given it.
  public let root: SysfsRoot
  /// The directory itself, where links on the way led when the tree was opened.
  private let directory: String

  /// The file by which an emulated tree is told from somebody's directory.
  private static let marker = ".genpool-emulation"
  /// Where devices are built and taken apart.
  private static let staging = ".staging"

  /// The tree that ``create(at:devices:)`` has made at `path` before.
  public init(opening path: FilePath) throws(EmulationError) {
    root = SysfsRoot(path)
    directory = Self.resolved(path)
    guard (try? root[Self.marker].exists()) == true else {
      throw .invalid(subject: path.string, problem: "it is no emulated tree")
    }
  }

  /// Makes a tree with `devices` at `path`, or adds them to the emulated tree that is there.
  ///
  /// Makes the directory, though not its parents. On failure everything that was written is gone.
  /// - Throws: for a directory that has anything else in it; for devices that cannot be.
  @discardableResult
  public static func create(
    at path: FilePath, devices: [EmulatedDevice]
  ) throws(EmulationError) -> EmulatedTree {
    let isNew = try prepare(path)
    do throws(EmulationError) {
      let tree = try EmulatedTree(opening: path)
      try tree.add(devices)
      return tree
    } catch {
      if isNew { discard(path) }
      throw error
    }
  }

  /// Plugs `device` in.
  /// - Returns: where it sits, whether it asked for the place or not.
  @discardableResult
  public func add(_ device: EmulatedDevice) throws(EmulationError) -> PCIAddress {
    try add([device])[0]
  }

  /// Plugs devices in, all or none. The tree is read once.
  /// - Returns: where each sits.
  @discardableResult
  public func add(_ devices: [EmulatedDevice]) throws(EmulationError) -> [PCIAddress] {
    for device in devices { try device.check(as: device.identity.description) }
    return try alone { () throws(EmulationError) in
      var map = AddressMap(of: try self.devices())
      var added: [PCIAddress] = []
      do throws(EmulationError) {
        for device in devices { added.append(try add(device, &map)) }
        return added
      } catch {
        for address in added.reversed() { try? unplug(address.description) }
        throw error
      }
    }
  }

  /// Plugs a device in at a place that `map` has for it.
  private func add(
    _ device: EmulatedDevice, _ map: inout AddressMap
  ) throws(EmulationError) -> PCIAddress {
    let address = try map.place(device)
    let staging = try TreeWriter(path: root.path.string).directory(Self.staging)
    let name = address.description
    // Left over by a writer that crashed, perhaps.
    staging.removeAll(name)
    do throws(EmulationError) {
      try staging.directory(name).write(device, map: &map)
      try plugIn(device, name, from: staging)
      return address
    } catch {
      try? unplug(name)
      staging.removeAll(name)
      throw error
    }
  }

  /// Pulls the device at `address` out. Files that a process has open or mapped stay alive for it,
  /// as sysfs mappings do; configuration space reads as all-ones then, as that of a device that is
  /// gone does.
  public func remove(_ address: PCIAddress) throws(EmulationError) {
    let name = address.description
    try alone { () throws(EmulationError) in
      guard (try? root["bus/pci/devices"][name].exists()) == true else {
        throw .invalid(subject: name, problem: "there is no such device")
      }
      try unplug(name)
    }
  }

  // MARK: Plugging

  /// Where the directories of devices with this address' domain are.
  func hostBridge(_ name: String) -> String {
    "devices/pci\(name.split(separator: ":")[0]):00"
  }

  private func plugIn(
    _ device: EmulatedDevice, _ name: String, from staging: TreeWriter
  ) throws(EmulationError) {
    let writer = TreeWriter(path: root.path.string)
    let bridge = hostBridge(name)
    try staging.move(name, into: writer.directories(bridge))
    if let group = device.iommuGroup {
      try writer.directories("kernel/iommu_groups/\(group)/devices")
        .link(name, to: "../../../../\(bridge)/\(name)")
    }
    if let driver = device.driver {
      try writer.directories("bus/pci/drivers/\(driver)").linkToDriver(name, below: bridge)
    }
    try writer.directories("bus/pci/devices").link(name, to: "../../../\(bridge)/\(name)")
  }

  /// Undoes ``plugIn(_:_:from:)``, as far as it got.
  private func unplug(_ name: String) throws(EmulationError) {
    let writer = TreeWriter(path: root.path.string)
    let directory = root[hostBridge(name)][name]
    try writer.directories("bus/pci/devices").unlink(name)
    TreeWriter(path: directory.path).blank("config")
    if let group = (try? directory["iommu_group"].linkTarget())?.lastComponent?.string {
      try writer.directories("kernel/iommu_groups/\(group)/devices").unlink(name)
    }
    if let driver = (try? directory["driver"].linkTarget())?.lastComponent?.string {
      try writer.directories("bus/pci/drivers/\(driver)").unlink(name)
    }
    guard (try? directory.exists()) == true else { return }
    let staging = try writer.directory(Self.staging)
    staging.removeAll(name)
    try TreeWriter(path: root[hostBridge(name)].path).move(name, into: staging)
    staging.removeAll(name)
  }

  /// The devices that are there. One that cannot be read is an error: its addresses are not known,
  /// so a new one might overlap it.
  private func devices() throws(EmulationError) -> [Device] {
    do throws(DeviceError) {
      let listing = try DeviceTree(root: root).list()
      let problems = listing.unreadable.map(\.cause) + listing.devices.flatMap(\.problems)
      if let problem = problems.first { throw problem }
      return listing.devices
    } catch {
      throw .device(error)
    }
  }

  // MARK: The directory

  /// Makes an empty tree of `path` unless it is a tree.
  /// - Returns: whether it was not.
  private static func prepare(_ path: FilePath) throws(EmulationError) -> Bool {
    guard unsafe mkdir(path.string, 0o755) == 0 || errno == EEXIST else {
      throw failure("make directory", path)
    }
    let entries: [String]
    do throws(DeviceError) {
      entries = try SysfsNode(path: path.string).entries()
    } catch {
      throw .device(error)
    }
    if entries.contains(marker) { return false }
    guard entries.isEmpty else {
      throw .invalid(
        subject: path.string, problem: "the directory is not empty and no emulated tree")
    }
    let tree = TreeWriter(path: path.string)
    do throws(EmulationError) {
      for name in ["bus/pci/devices", "bus/pci/drivers", "bus/pci/slots", "kernel/iommu_groups"] {
        _ = try tree.directories(name)
      }
      try tree.directories("bus/pci").file("drivers_probe", [], mode: 0o644)
      // Last: what has it can be used.
      try tree.attribute(marker, "1", mode: 0o644)
    } catch {
      discard(path)
      throw error
    }
    return true
  }

  /// Removes the tree, and what genpool has put into it. Its directory is left where there is
  /// anything else in it.
  ///
  /// Removes nothing where the path leads to another directory by now: one without this user's
  /// marker.
  package func destroy() {
    guard let opened = TreeRemover.open(directory),
      TreeRemover.isOwnFile(Self.marker, in: opened)
    else { return }
    Self.discard(root.path, opened)
  }

  /// Removes what was made of a tree that did not come to be.
  private static func discard(_ path: FilePath) {
    if let directory = TreeRemover.open(resolved(path)) { discard(path, directory) }
  }

  /// The path of what `path` leads to, without links; `path` itself where it leads nowhere.
  private static func resolved(_ path: FilePath) -> String {
    guard let resolved = unsafe realpath(path.string, nil) else { return path.string }
    defer { unsafe free(resolved) }
    return unsafe String(cString: resolved)
  }

  /// Removes what is in a tree, the marker first, and the directory when it lets itself be removed:
  /// one that a link at `path` leads to stays, empty.
  private static func discard(_ path: FilePath, _ directory: borrowing Descriptor) {
    TreeRemover.remove(marker, in: directory)
    for name in ["bus", "devices", "kernel", "run", staging] {
      TreeRemover.remove(name, in: directory)
    }
    unsafe rmdir(path.string)
  }

  /// Does `body` while no other writer is at work, waiting for that.
  func alone<Result>(
    _ body: () throws(EmulationError) -> Result
  ) throws(EmulationError) -> Result {
    let marker = root.path.appending(Self.marker)
    let number = unsafe open(marker.string, O_RDONLY | O_CLOEXEC)
    guard number >= 0 else { throw Self.failure("open", marker) }
    let file = Descriptor(owning: number)
    while flock(file.rawValue, LOCK_EX) != 0 {
      guard errno == EINTR else { throw Self.failure("lock", marker) }
    }
    // Not left to the descriptor's end, which may come right after its last use.
    defer { _ = flock(file.rawValue, LOCK_UN) }
    return try body()
  }

  private static func failure(_ operation: String, _ path: FilePath) -> EmulationError {
    let number = errno
    return .system(
      SystemError(operation: operation, subject: path.string, errno: Errno(rawValue: number)))
  }
}
