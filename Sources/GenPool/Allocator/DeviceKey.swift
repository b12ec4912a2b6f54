/// The name of a device: a PCI address, a sysfs path, any name that its users agree on.
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
