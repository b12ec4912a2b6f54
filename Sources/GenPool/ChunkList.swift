import Synchronization

/// The chunks of a pool, newest first. It only grows, at its head, so that it is read without a
/// lock; its chunks are deallocated with it. Those that were removed stay as empty husks, which nobody
/// visits.
// SAFETY: storages are published with release order, and deallocated in deinit only.
@safe
struct ChunkList: ~Copyable, @unchecked Sendable {
  private let head = unsafe Atomic<UnsafeMutablePointer<ChunkStorage>?>(nil)

  deinit {
    var next = newest
    while let chunk = next {
      next = chunk.pointee.next
      chunk.deallocate()
    }
  }

  /// The chunk added last.
  @inline(__always)
  var newest: ChunkReference? { unsafe ChunkReference(head.load(ordering: .acquiring)) }

  /// Adds a chunk. One caller at a time.
  func push(_ storage: consuming ChunkStorage) {
    storage.next = newest
    let pointer = UnsafeMutablePointer<ChunkStorage>.allocate(capacity: 1)
    unsafe pointer.initialize(to: storage)
    unsafe head.store(pointer, ordering: .releasing)
  }

  /// Runs `body` on every chunk, newest first, without its lock.
  @inline(__always)
  func forEach(_ body: (ChunkReference) -> Void) {
    forEachEver { if !$0.pointee.isRemoved { body($0) } }
  }

  /// The same on those that were removed as well.
  @inline(__always)
  func forEachEver(_ body: (ChunkReference) -> Void) {
    var next = newest
    while let chunk = next {
      body(chunk)
      next = chunk.pointee.next
    }
  }

  /// What `body` says of the newest chunk it has something to say of, without its lock.
  @inline(__always)
  func first<Answer>(_ body: (borrowing ChunkStorage) -> Answer?) -> Answer? {
    var next = newest
    while let chunk = next {
      if !chunk.pointee.isRemoved, let answer = body(chunk.pointee) { return answer }
      next = chunk.pointee.next
    }
    return nil
  }

  /// The newest chunk in which `address` lies or once lay.
  @inline(__always)
  func chunkEver(at address: VirtualAddress) -> ChunkReference? {
    var next = newest
    while let chunk = next {
      if chunk.pointee.contains(address) { return chunk }
      next = chunk.pointee.next
    }
    return nil
  }

  /// The chunk in which `address` lies. None that was removed hides it: chunks do not overlap, so whatever
  /// lies where another did is newer.
  @inline(__always)
  func chunk(at address: VirtualAddress) -> ChunkReference? {
    guard let chunk = chunkEver(at: address), !chunk.pointee.isRemoved else { return nil }
    return chunk
  }
}

/// Where a chunk of a living pool is.
// SAFETY: made by ChunkList alone, which outlives all use: a pool's methods keep the pool alive.
// Nothing behind it is written to but through its own atomics and lock.
@safe
struct ChunkReference: @unchecked Sendable {
  private let pointer: UnsafeMutablePointer<ChunkStorage>

  @inline(__always)
  fileprivate init?(_ pointer: UnsafeMutablePointer<ChunkStorage>?) {
    guard let pointer = unsafe pointer else { return nil }
    unsafe self.pointer = pointer
  }

  @inline(__always)
  var pointee: ChunkStorage {
    _read { yield unsafe pointer.pointee }
  }

  fileprivate func deallocate() {
    unsafe pointer.deinitialize(count: 1)
    unsafe pointer.deallocate()
  }
}
