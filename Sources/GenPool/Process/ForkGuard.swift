import CGenPoolInline
import Synchronization

/// Remembers the process image in which something was made, and tells when this is another one.
///
/// fork() copies a pool's bitmap, but not the device memory behind it: a child that allocated
/// would hand out its parent's memory. The guard compares a number with a word in a page that the
/// kernel wipes in the child: one load, no system call.
@safe
struct ForkGuard: @unchecked Sendable {
  // SAFETY: a page that is never unmapped; all access is atomic.
  private let word: UnsafePointer<Atomic<UInt64>>
  private let image: UInt64

  /// The guard of the image that runs now.
  init() {
    let word = unsafe Self.sharedWord
    // Wiped: the first pool in this image. The last number used is ordinary memory, which a child
    // inherits, so no image repeats the number of an ancestor.
    if unsafe word.pointee.load(ordering: .relaxed) == 0 {
      let next = Self.lastImage.add(1, ordering: .relaxed).newValue
      _ = unsafe word.pointee.compareExchange(expected: 0, desired: next, ordering: .relaxed)
    }
    unsafe self.word = word
    image = unsafe word.pointee.load(ordering: .relaxed)
  }

  /// Whether this is a forked child of the image in which the guard was made. Constant time.
  @inline(__always)
  var isForked: Bool { unsafe word.pointee.load(ordering: .relaxed) != image }

  private static let lastImage = Atomic<UInt64>(0)

  // SAFETY: set once, before any guard exists.
  nonisolated(unsafe) private static let sharedWord: UnsafePointer<Atomic<UInt64>> = {
    guard let page = unsafe gp_fork_word() else {
      preconditionFailure("no page that fork() wipes: MADV_WIPEONFORK needs Linux 4.14")
    }
    return unsafe UnsafePointer(page.assumingMemoryBound(to: Atomic<UInt64>.self))
  }()
}
