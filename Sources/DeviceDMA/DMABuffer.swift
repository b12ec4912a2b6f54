public import DeviceMemory
public import GenPool
import LinuxSystem
public import PCIDevices

/// An allocation that a device is told of and that this process touches: by offsets from its start,
/// never beyond its end, by accesses that device memory tolerates.
///
/// A value: a copy is the same memory. ``BufferPool/free(_:)`` ends it; the mapping lives as long
/// as any copy.
public struct DMABuffer: Sendable {
  /// Where it is.
  public let allocation: DMAAllocation

  /// The region that it is in.
  public let shared: SharedRegion
  /// The controller whose memory it is, if any.
  public let owner: PCIAddress?
  /// Where it starts in the region.
  private let start: ByteCount

  /// `allocation`, which lies in `shared`.
  init(_ allocation: DMAAllocation, in shared: SharedRegion, of owner: PCIAddress?) {
    self.allocation = allocation
    self.owner = owner
    self.shared = shared
    start = allocation.start - shared.region.mapping.start
  }

  /// How long it is, in bytes.
  public var size: ByteCount { allocation.size }

  /// Zeroes all of it.
  public func zero() throws(DeviceFault) {
    try shared.region.zero(at: start, count: size)
  }

  /// Writes `bytes` at `offset`, and sees them on their way to the device.
  public func write(_ bytes: [UInt8], at offset: ByteCount = .zero) throws(DeviceFault) {
    let count = ByteCount(bytes.count)
    try check("write", offset, count)
    try shared.region.write(bytes, at: start + offset)
  }

  /// The `count` bytes at `offset`.
  public func read(at offset: ByteCount = .zero, count: ByteCount) throws(DeviceFault) -> [UInt8] {
    try check("read", offset, count)
    return try shared.region.read(at: start + offset, count: count)
  }

  /// Loads one aligned word, without a fence.
  public func load<Value: Register>(
    _ type: Value.Type = Value.self, at offset: ByteCount
  ) throws(DeviceFault) -> Value {
    try check("load", offset, ByteCount(UInt64(Value.width.rawValue)))
    return try shared.region.mapping.load(at: start + offset)
  }

  /// Stores one aligned word, without a fence.
  public func store<Value: Register>(_ value: Value, at offset: ByteCount) throws(DeviceFault) {
    try check("store", offset, ByteCount(UInt64(Value.width.rawValue)))
    try shared.region.mapping.store(value, at: start + offset)
  }

  /// Waits until what this process has stored in the buffer has arrived there: before `reader` is
  /// told to read it, or to write something else there.
  ///
  /// Stores to a device are posted. A fence sends them off in order, but those to one device and
  /// those to another take different ways, and a doorbell may be there first. A load may not
  /// overtake the stores to the same device (PCI Express Base Specification 5.0 section 2.4.1): its
  /// answer says that they have arrived. Nothing is done for `reader`'s own memory: the doorbell
  /// goes the same way, behind the stores. The host's memory needs nothing either, and loses
  /// nothing by a load.
  /// - Parameter count: how much was stored, from the start; its last byte is loaded.
  public func settle(_ count: ByteCount, for reader: PCIAddress) throws(DeviceFault) {
    guard owner != reader, count > .zero else { return }
    // Both ways round: no load before the stores, and what follows, the doorbell, not before the
    // load.
    Fence.all()
    _ = try load(UInt8.self, at: count - 1)
    Fence.all()
  }

  /// Throws unless `count` bytes at `offset` lie inside: the region goes on after the buffer's end.
  private func check(
    _ operation: String, _ offset: ByteCount, _ count: ByteCount
  ) throws(DeviceFault) {
    guard offset <= size, count <= size - offset else {
      throw DeviceFault(
        operation: operation, subject: "a buffer in \(shared.region.range.label)", offset: offset,
        count: count, reason: .outOfBounds(size: size))
    }
  }
}
