public import LinuxSystem

/// A piece of a device's memory that is open and mapped: what becomes a chunk of a pool.
///
/// Its end unmaps the memory, closes the descriptor and undoes the opening, in this order.
public struct Region: ~Copyable, Sendable {
  // Destroyed in the order of declaration.

  /// Where the memory is in this process.
  public let mapping: Mapping
  /// Where the memory is for everybody else, and how it was opened.
  public let range: DeviceRange

  /// Maps `range` as ``Mapping/init(mapping:)`` does. If that fails the range is closed.
  public init(mapping range: consuming DeviceRange) throws(SystemError) {
    mapping = try Mapping(mapping: range)
    self.range = range
  }

  /// Lets go of the device without ending: pages of all-ones take the memory's place
  /// (``Mapping/overmap()``), and its descriptor becomes one of `/dev/null`. Nothing in this
  /// process keeps the device from being removed then, but for what else was made of the
  /// descriptor.
  /// - Throws: as ``Mapping/overmap()``, and EMFILE.
  public func abandon() throws(SystemError) {
    try mapping.overmap()
    try range.descriptor.lead(to: "/dev/null")
  }
}
