import CDeviceMemory
public import GenPool

/// A width in which a register is accessed: ``UInt8``, ``UInt16``, ``UInt32`` or ``UInt64``.
///
/// Registers are little-endian, as PCI's are, and values are in the host's order.
public protocol Register: FixedWidthInteger, UnsignedInteger, Sendable {
  /// How many bytes one access moves.
  static var width: RegisterWidth { get }
}

/// How many bytes one register access moves. The bus knows no others.
public enum RegisterWidth: UInt32, Sendable {
  case one = 1
  case two = 2
  case four = 4
  case eight = 8
}

extension UInt8: Register {
  public static var width: RegisterWidth { .one }
}

extension UInt16: Register {
  public static var width: RegisterWidth { .two }
}

extension UInt32: Register {
  public static var width: RegisterWidth { .four }
}

extension UInt64: Register {
  public static var width: RegisterWidth { .eight }
}

extension Mapping {
  /// Loads the register at `offset`, in one access. Linux's `readb` … `readq`, without a fence.
  ///
  /// Throws when it is out of bounds, misaligned or, with ``FaultGuard``, does not answer.
  public func load<Value: Register>(
    _ type: Value.Type = Value.self, at offset: ByteCount
  ) throws(DeviceFault) -> Value {
    let register = try unsafe registerPointer(Value.self, at: offset, for: "load")
    var value: UInt64 = 0
    guard unsafe gd_load(register, Value.width.rawValue, &value) == 0 else {
      throw fault(.noAnswer(offset: offset), "load", offset, ByteCount(Value.self))
    }
    return Value(littleEndian: Value(truncatingIfNeeded: value))
  }

  /// Stores `value` into the register at `offset`, in one access. Linux's `writeb` … `writeq`,
  /// without a fence.
  ///
  /// Throws when it is out of bounds, misaligned or, with ``FaultGuard``, does not answer.
  public func store<Value: Register>(_ value: Value, at offset: ByteCount) throws(DeviceFault) {
    guard access == .readWrite else {
      throw fault(.readOnly, "store", offset, ByteCount(Value.self))
    }
    let register = try unsafe registerPointer(Value.self, at: offset, for: "store")
    guard unsafe gd_store(register, Value.width.rawValue, UInt64(value.littleEndian)) == 0 else {
      throw fault(.noAnswer(offset: offset), "store", offset, ByteCount(Value.self))
    }
  }

  private func registerPointer<Value: Register>(
    _ type: Value.Type, at offset: ByteCount, for operation: String
  ) throws(DeviceFault) -> UnsafeMutableRawPointer {
    let width = ByteCount(Value.self)
    let pointer = try unsafe pointer(at: offset, count: width, for: operation)
    guard (start + offset).isAligned(to: width) else {
      throw fault(.misaligned, operation, offset, width)
    }
    return unsafe pointer
  }
}

extension ByteCount {
  fileprivate init<Value: Register>(_ type: Value.Type) {
    self.init(UInt64(Value.width.rawValue))
  }
}

/// Orders this CPU's accesses to devices: what ``Mapping/load(_:at:)`` and ``Mapping/store(_:at:)``
/// do not, write-combining memory above all.
public enum Fence {
  /// Stores before it reach the device before stores after it; drains write-combining buffers. Linux's
  /// `wmb()`: between a command in device memory and its doorbell.
  public static func stores() { gd_fence_stores() }
  /// Loads before it are done before loads after it start. Linux's `rmb()`: between a completion's
  /// phase bit and the rest of it.
  public static func loads() { gd_fence_loads() }
  /// Everything before it is done before anything after it starts. Linux's `mb()`.
  public static func all() { gd_fence_all() }
}
