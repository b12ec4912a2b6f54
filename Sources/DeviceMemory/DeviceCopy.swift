import CDeviceMemory
public import GenPool

/// Runs of bytes, moved by naturally aligned accesses of 8 bytes, and of 1 at the ends: all that
/// every device tolerates. Linux's `memset_io`, `memcpy_toio`, `memcpy_fromio`.
///
/// All throw when the run is out of bounds or, with ``FaultGuard``, when the memory does not answer.
/// What was moved before stays moved. Stores are fenced: after return they are on their way to the
/// device, write-combining or not.
extension Region {
  /// Zeroes `count` bytes at `offset`.
  public func zero(at offset: ByteCount, count: ByteCount) throws(DeviceFault) {
    let device = try unsafe mapping.pointer(at: offset, count: count, for: "zero")
    var failed = 0
    guard unsafe gd_zero(device, Int(count.rawValue), &failed) == 0 else {
      throw noAnswer(after: failed, "zero", offset, count)
    }
  }

  /// Writes `bytes` at `offset`.
  public func write(_ bytes: RawSpan, at offset: ByteCount) throws(DeviceFault) {
    let count = ByteCount(bytes.byteCount)
    let device = try unsafe mapping.pointer(at: offset, count: count, for: "write")
    var failed = 0
    let result = unsafe bytes.withUnsafeBytes { host in
      unsafe gd_copy_in(device, host.baseAddress, host.count, &failed)
    }
    guard result == 0 else { throw noAnswer(after: failed, "write", offset, count) }
  }

  /// Writes `bytes` at `offset`.
  public func write(_ bytes: [UInt8], at offset: ByteCount) throws(DeviceFault) {
    try unsafe write(bytes.span.bytes, at: offset)
  }

  /// The `count` bytes at `offset`.
  public func read(at offset: ByteCount, count: ByteCount) throws(DeviceFault) -> [UInt8] {
    let device = try unsafe mapping.pointer(at: offset, count: count, for: "read")
    var bytes = [UInt8](repeating: 0, count: Int(count.rawValue))
    var failed = 0
    let result = unsafe bytes.withUnsafeMutableBytes { host in
      unsafe gd_copy_out(host.baseAddress, device, host.count, &failed)
    }
    guard result == 0 else { throw noAnswer(after: failed, "read", offset, count) }
    return bytes
  }

  /// Throws ``DeviceFault/Reason/notZero(offset:found:)`` unless the aligned words that hold every
  /// `stride`-th of the `count` bytes at `offset`, and the last of them, are zero. A stride of 8 or
  /// less reads everything.
  ///
  /// Reading also makes sure that the zeros have arrived: a read pushes the posted writes before it.
  public func verifyZero(
    at offset: ByteCount, count: ByteCount, everyBytes stride: ByteCount = 4096
  ) throws(DeviceFault) {
    let device = try unsafe mapping.pointer(at: offset, count: count, for: "verify")
    var failed = 0
    var index = 0
    var found: UInt64 = 0
    let stride = Int(clamping: stride.rawValue)
    switch unsafe gd_find_nonzero(device, Int(count.rawValue), stride, &index, &found, &failed) {
    case 0: return
    case 1:
      let reason = DeviceFault.Reason.notZero(offset: offset + ByteCount(index), found: found)
      throw mapping.fault(reason, "verify", offset, count)
    default: throw noAnswer(after: failed, "verify", offset, count)
    }
  }

  private func noAnswer(
    after failed: Int, _ operation: String, _ offset: ByteCount, _ count: ByteCount
  ) -> DeviceFault {
    let reason = DeviceFault.Reason.noAnswer(offset: offset + ByteCount(failed))
    return mapping.fault(reason, operation, offset, count)
  }
}
