public import CGenPool
import GenPool
import Glibc
import PCIDevices
import SystemPackage

/// A `struct device` of C: a directory of sysfs, and the pools that end with it.
///
/// One object a device, however many handles there are and however they were named; `table` holds it
/// from the first handle to the last.
final class ManagedDevice: Sendable {
  /// The directory, links resolved.
  let path: String
  /// The directory of its device-tree node, links resolved; nil without one.
  let node: String?

  /// The process that opened it, whose pools it has. A forked child has none of them.
  private let process = getpid()

  private struct Entry: Sendable {
    let device: ManagedDevice
    var handles = 0
    var pools: [PoolHandle] = []
  }

  private static let table = PerProcess<[String: Entry]> { [:] }

  /// Makes the table.
  static func prepare() { table.withLock { _ in } }

  private init(path: String) {
    self.path = path
    node = resolved(path + "/of_node")
  }

  /// The device at `path`, with one handle more.
  static func open(_ path: String) -> ManagedDevice {
    table.withLock { table in
      var entry = table[path] ?? Entry(device: ManagedDevice(path: path))
      entry.handles += 1
      table[path] = entry
      return entry.device
    }
  }

  /// Takes a handle back. With the last one the pools end.
  /// - Throws: `outstanding` when one of them has anything allocated, `forked` in a child of the
  ///   process that opened it. Then the handle stays.
  func close() throws(PoolError) {
    guard process == getpid() else { throw .forked }
    let ended = try Self.table.withLock { (table) throws(PoolError) -> [PoolHandle] in
      guard var entry = table[path] else { return [] }
      guard entry.handles == 1 else {
        entry.handles -= 1
        table[path] = entry
        return []
      }
      for handle in entry.pools {
        // Chunk by chunk: what is free in a drained one is not available.
        let held = handle.pool.chunks.reduce(ByteCount.zero) { $0 + ($1.size - $1.available) }
        guard held == .zero else { throw .outstanding(held) }
      }
      table[path] = nil
      return entry.pools
    }
    for handle in ended {
      try handle.pool.destroy()
      handle.end()
    }
  }

  /// Makes a pool that ends with the device; nil when it has one of that name, or the order is none.
  func createPool(order: CInt, node: CInt, name: String?) -> PoolHandle? {
    guard
      let handle = PoolHandle.create(
        order: order, node: node, name: name, device: DeviceKey(path))
    else { return nil }
    let isNew = Self.table.withLock { table in
      guard var entry = table[path], Self.find(name, in: entry.pools) == nil else { return false }
      entry.pools.append(handle)
      table[path] = entry
      return true
    }
    if !isNew { handle.end() }
    return isNew ? handle : nil
  }

  /// The device's pool of that name; nil finds the unnamed one only.
  func pool(_ name: String?) -> PoolHandle? {
    Self.table.withLock { table in table[path].flatMap { Self.find(name, in: $0.pools) } }
  }

  /// The device that a device-tree node describes, if there is a handle of it.
  static func device(of node: String) -> ManagedDevice? {
    table.withLock { table in table.values.first { $0.device.node == node }?.device }
  }

  private static func find(_ name: String?, in pools: [PoolHandle]) -> PoolHandle? {
    pools.first { $0.withPool { $0.name } == name }
  }

  /// The object that a handle of C stands for.
  // SAFETY: genpool_device_get makes them, with a reference that genpool_device_put takes back.
  static func at(_ pointer: OpaquePointer) -> ManagedDevice {
    unsafe Unmanaged<ManagedDevice>.fromOpaque(UnsafeRawPointer(pointer)).takeUnretainedValue()
  }
}

/// `path` with all links resolved; nil when it leads nowhere.
func resolved(_ path: String) -> String? {
  guard let text = unsafe realpath(path, nil) else { return nil }
  defer { unsafe free(text) }
  return unsafe String(cString: text)
}

/// The root that C names, or the standard one.
func sysfsRoot(_ path: UnsafePointer<CChar>?) -> SysfsRoot {
  unsafe path.map { unsafe SysfsRoot(FilePath(String(cString: $0))) } ?? .standard
}

@c @implementation
public func genpool_device_get(
  _ sysfs_root: UnsafePointer<CChar>?, _ name: UnsafePointer<CChar>,
  _ device: UnsafeMutablePointer<OpaquePointer?>?
) -> CInt {
  guard let device = unsafe device else { return -EINVAL }
  let root = unsafe sysfsRoot(sysfs_root)
  let name = unsafe String(cString: name)
  let relative = PCIAddress(name).map { "bus/pci/devices/\($0)" } ?? name
  let path = relative.hasPrefix("/") ? relative : "\(root)/\(relative)"
  guard let path = resolved(path), resolved(path + "/.") != nil else {
    ErrorText.set("find the device \(name): nothing is at \(path)")
    return -ENODEV
  }
  unsafe device.pointee = OpaquePointer(
    Unmanaged.passRetained(ManagedDevice.open(path)).toOpaque())
  return 0
}

@c @implementation
public func genpool_device_put(_ device: OpaquePointer?) -> CInt {
  guard let device = unsafe device else { return 0 }
  do {
    try unsafe ManagedDevice.at(device).close()
  } catch {
    ErrorText.set("put a device: a pool of it is in use: \(error)")
    return -error.errorNumber
  }
  unsafe Unmanaged<ManagedDevice>.fromOpaque(UnsafeRawPointer(device)).release()
  return 0
}

@c @implementation
public func devm_gen_pool_create(
  _ dev: OpaquePointer, _ min_alloc_order: CInt, _ nid: CInt, _ name: UnsafePointer<CChar>?
) -> UnsafeMutablePointer<gen_pool>? {
  let name = unsafe name.map { unsafe String(cString: $0) }
  let handle = unsafe ManagedDevice.at(dev).createPool(
    order: min_alloc_order, node: nid, name: name)
  // The kernel's ERR_PTR.
  return unsafe handle?.pointer ?? UnsafeMutablePointer(bitPattern: Int(-EINVAL))
}

@c @implementation
public func gen_pool_get(_ dev: OpaquePointer, _ name: UnsafePointer<CChar>?)
  -> UnsafeMutablePointer<gen_pool>?
{
  let name = unsafe name.map { unsafe String(cString: $0) }
  return unsafe ManagedDevice.at(dev).pool(name)?.pointer
}
