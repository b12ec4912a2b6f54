import Glibc

/// Structs that begin with their size, so that later versions can add fields: what an older caller does
/// not have is 0, and what a newer one has must be.
enum SizedStruct {
  /// Fills `value`, which is zeroed, from C's struct.
  /// - Returns: 0, -EINVAL for a size that is none, -E2BIG for fields that this version does not know.
  @unsafe
  static func read<Value: BitwiseCopyable>(
    _ source: UnsafePointer<Value>, into value: inout Value
  ) -> CInt {
    let bytes = unsafe UnsafeRawPointer(source)
    let stated = unsafe bytes.load(as: Int.self)
    guard stated >= MemoryLayout<Int>.size, stated <= 1 << 16 else { return -EINVAL }
    let known = min(stated, MemoryLayout<Value>.size)
    for offset in known..<stated
    where unsafe bytes.load(fromByteOffset: offset, as: UInt8.self) != 0 {
      return -E2BIG
    }
    unsafe withUnsafeMutableBytes(of: &value) {
      unsafe $0.copyMemory(from: .init(start: bytes, count: known))
    }
    return 0
  }

  /// Fills C's struct, as far as the caller has it, and zeroes what this version does not know.
  /// - Returns: 0 or -EINVAL for a size that is none.
  @unsafe
  static func write<Value: BitwiseCopyable>(
    _ value: Value, to destination: UnsafeMutablePointer<Value>
  ) -> CInt {
    let bytes = UnsafeMutableRawPointer(destination)
    let stated = unsafe bytes.load(as: Int.self)
    guard stated >= MemoryLayout<Int>.size, stated <= 1 << 16 else { return -EINVAL }
    unsafe memset(bytes, 0, stated)
    unsafe withUnsafeBytes(of: value) { source in
      unsafe bytes.copyMemory(
        from: source.baseAddress ?? UnsafeRawPointer(bytes), byteCount: min(stated, source.count))
    }
    unsafe bytes.storeBytes(of: stated, as: Int.self)
    return 0
  }
}
