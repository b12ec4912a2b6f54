/// The place of a chunk's storage, while its allocator lives.
// SAFETY: made by ChunkList alone, which outlives all use: an allocator's methods keep it alive.
// Nothing behind it is written to but through its own atomics and lock.
@safe
struct ChunkReference: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<ChunkStorage>

  @inline(__always)
  init?(_ pointer: UnsafeMutablePointer<ChunkStorage>?) {
    guard let pointer = unsafe pointer else { return nil }
    unsafe self.pointer = pointer
  }

  init(_ storage: consuming ChunkStorage) {
    let pointer = UnsafeMutablePointer<ChunkStorage>.allocate(capacity: 1)
    unsafe pointer.initialize(to: storage)
    unsafe self.pointer = pointer
  }

  /// The reference in a word of a roster; nil for 0.
  @inline(__always)
  init?(word: UInt64) {
    unsafe self.init(
      UnsafeMutablePointer<ChunkStorage>(bitPattern: UInt(truncatingIfNeeded: word)))
  }

  @inline(__always)
  var word: UInt64 { unsafe UInt64(UInt(bitPattern: pointer)) }

  @inline(__always)
  var pointee: ChunkStorage {
    _read { yield unsafe pointer.pointee }
  }

  func deallocate() {
    unsafe pointer.deinitialize(count: 1)
    unsafe pointer.deallocate()
  }
}
