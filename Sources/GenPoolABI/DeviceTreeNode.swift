public import CGenPool
import Glibc
import PCIDevices

/// A `struct device_node` of C: a node of the device tree, as sysfs shows it: a directory, whose files
/// are the node's properties.
final class DeviceTreeNode: Sendable {
  private let directory: SysfsNode
  /// The root of the tree, at which its phandles lead.
  private let base: SysfsNode

  /// The node at `path` from the tree's root below `root`; nil when there is none.
  init?(_ path: String, below root: SysfsRoot) {
    guard let base = resolved("\(root)/firmware/devicetree/base"),
      let place = resolved(base + "/" + path), (place + "/").hasPrefix(base + "/")
    else { return nil }
    self.base = SysfsNode(path: base)
    directory = SysfsNode(path: place)
  }

  private init(_ directory: SysfsNode, base: SysfsNode) {
    self.directory = directory
    self.base = base
  }

  /// Its directory, links resolved.
  var path: String { directory.path }

  /// `sram@100000`: the last part of its path, unit address and all.
  var name: String { String(path.split(separator: "/").last ?? "") }

  /// The node above it; nil for the root.
  var parent: DeviceTreeNode? {
    guard path != base.path, let end = path.lastIndex(of: "/") else { return nil }
    return DeviceTreeNode(SysfsNode(path: String(path[..<end])), base: base)
  }

  /// A property that is text, up to its first NUL.
  func text(_ property: String) -> String? {
    guard let bytes = try? directory[property].bytes(limit: 4096) else { return nil }
    return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
  }

  /// The node that the phandle number `index` of a property leads to.
  func node(_ property: String, _ index: Int) -> DeviceTreeNode? {
    guard let handle = Self.cell(index, of: directory[property]), handle != 0 else { return nil }
    return Self.find(handle, in: base).map { DeviceTreeNode($0, base: base) }
  }

  /// Cells are 32 bits, big-endian (Devicetree Specification 0.4, 2.2.4).
  private static func cell(_ index: Int, of property: SysfsNode) -> UInt32? {
    guard index >= 0, index < 16384,
      let bytes = try? property.bytes(limit: 4 * (index + 1)), bytes.count == 4 * (index + 1)
    else { return nil }
    return bytes.suffix(4).reduce(0) { $0 << 8 | UInt32($1) }
  }

  private static func find(_ handle: UInt32, in directory: SysfsNode) -> SysfsNode? {
    if cell(0, of: directory["phandle"]) == handle { return directory }
    for name in (try? directory.entries()) ?? [] {
      var status = stat()
      guard unsafe lstat(directory[name].path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR
      else { continue }
      if let found = find(handle, in: directory[name]) { return found }
    }
    return nil
  }

  /// The object that a handle of C stands for.
  // SAFETY: genpool_node_get makes them, with a reference that genpool_node_put takes back.
  static func at(_ pointer: OpaquePointer) -> DeviceTreeNode {
    unsafe Unmanaged<DeviceTreeNode>.fromOpaque(UnsafeRawPointer(pointer)).takeUnretainedValue()
  }
}

@c @implementation
public func genpool_node_get(
  _ sysfs_root: UnsafePointer<CChar>?, _ path: UnsafePointer<CChar>,
  _ node: UnsafeMutablePointer<OpaquePointer?>?
) -> CInt {
  guard let node = unsafe node else { return -EINVAL }
  let root = unsafe sysfsRoot(sysfs_root)
  let path = unsafe String(cString: path)
  guard let found = DeviceTreeNode(path, below: root) else {
    ErrorText.set("find the device-tree node \(path): none below \(root)/firmware/devicetree/base")
    return -ENOENT
  }
  unsafe node.pointee = OpaquePointer(Unmanaged.passRetained(found).toOpaque())
  return 0
}

@c @implementation
public func genpool_node_put(_ node: OpaquePointer?) {
  guard let node = unsafe node else { return }
  unsafe Unmanaged<DeviceTreeNode>.fromOpaque(UnsafeRawPointer(node)).release()
}

/// Linux 7.0: a node without a device of its own stands for a pool of its parent's device, by its label,
/// else by its full name.
@c @implementation
public func of_gen_pool_get(_ np: OpaquePointer, _ propname: UnsafePointer<CChar>, _ index: CInt)
  -> UnsafeMutablePointer<gen_pool>?
{
  let node = unsafe DeviceTreeNode.at(np)
  let property = unsafe String(cString: propname)
  guard let target = node.node(property, Int(index)) else { return nil }
  if let device = ManagedDevice.device(of: target.path) { return unsafe device.pool(nil)?.pointer }
  guard let parent = target.parent, let device = ManagedDevice.device(of: parent.path) else {
    return nil
  }
  let name = target.text("label") ?? target.name
  // A damaged tree: without this it would find a pool that was named "" for another reason.
  guard !name.isEmpty else { return nil }
  return unsafe device.pool(name)?.pointer
}
