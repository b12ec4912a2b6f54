/// Finds pools by the device they belong to and their name: the kernel's managed interface.
///
/// A device has at most one pool of a name, and one without.
public final class PoolRegistry: Sendable {
  /// The registry of the process.
  public static let shared = PoolRegistry()

  private let pools: Locked<[Pool]>

  /// An empty registry.
  public init() {
    pools = Locked([])
  }

  /// Makes a pool that lives until its device is removed. The kernel's `devm_gen_pool_create`.
  /// - Throws: `nameTaken` when the device has a pool of that name; nil matches the unnamed one.
  /// - Complexity: O(pools).
  public func create(
    device: DeviceKey, name: String? = nil, granule: GranuleSize, fit: Fit = .first,
    node: NUMANode? = nil, warning: (@Sendable (PoolWarning) -> Void)? = nil
  ) throws(PoolError) -> Pool {
    try pools.withLock { (pools) throws(PoolError) in
      guard Self.find(device, name, in: pools) == nil else { throw .nameTaken(name) }
      let pool = Pool(
        granule: granule, fit: fit, name: name, device: device, node: node, warning: warning)
      pools.append(pool)
      return pool
    }
  }

  /// The device's pool of that name, nil when it has none. The kernel's `gen_pool_get`. O(pools).
  public func pool(device: DeviceKey, name: String? = nil) -> Pool? {
    pools.withLock { Self.find(device, name, in: $0) }
  }

  /// Destroys the device's pools and forgets them: what the kernel does when a device goes.
  /// - Throws: `outstanding` for the first pool in which anything is allocated; the pools before it
  ///   are gone, it and those after it stay.
  /// - Complexity: O(pools + their chunks).
  public func removeDevice(_ device: DeviceKey) throws(PoolError) {
    // Not under the lock: what a pool lets go of runs code of others.
    for pool in pools.withLock({ $0.filter { $0.device == device } }) {
      do {
        try pool.destroy()
      } catch .destroyed {
        // Its user was quicker.
      }
      pools.withLock { $0.removeAll { $0 === pool } }
    }
  }

  private static func find(_ device: DeviceKey, _ name: String?, in pools: [Pool]) -> Pool? {
    pools.first { $0.device == device && $0.name == name }
  }
}

/// What identifies a device: a PCI address, a sysfs path, any name that its users agree on.
public struct DeviceKey: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
  /// The agreed name.
  public let description: String

  /// The device called `name`.
  public init(_ name: String) {
    description = name
  }

  public init(stringLiteral name: String) {
    description = name
  }
}

/// A NUMA node of the machine. The kernel's `nid`; none is nil, its `NUMA_NO_NODE`.
public struct NUMANode: Hashable, Sendable {
  /// The node's number, from 0.
  public let rawValue: Int

  /// Node `rawValue`.
  public init(_ rawValue: Int) {
    self.rawValue = rawValue
  }
}
