import Synchronization

/// A fixed number of words that any thread may read while another writes; 0 at first.
// SAFETY: owned from init to deinit, every word initialized; indices are checked in debug builds.
@safe
struct AtomicWords: ~Copyable, @unchecked Sendable {
  private let count: Int
  private let words: UnsafeMutablePointer<Atomic<UInt64>>

  init(_ count: Int) {
    self.count = count
    unsafe words = .allocate(capacity: count)
    for index in 0..<count { unsafe (words + index).initialize(to: Atomic(0)) }
  }

  deinit {
    unsafe words.deinitialize(count: count)
    unsafe words.deallocate()
  }

  /// One word: what is read was written with all that its writer did before.
  @inline(__always)
  subscript(index: Int) -> UInt64 {
    get {
      assert(index >= 0 && index < count, "outside the words")
      return unsafe words[index].load(ordering: .acquiring)
    }
    nonmutating set {
      assert(index >= 0 && index < count, "outside the words")
      unsafe words[index].store(newValue, ordering: .releasing)
    }
  }
}
