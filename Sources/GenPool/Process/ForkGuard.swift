import CGenPoolInline
public import Synchronization

/// Remembers the process image in which something was made, and tells when this is another one.
///
/// fork() copies a pool's bitmap, but not the device memory behind it: a child that allocated
/// would hand out its parent's memory. The guard compares a number with a word in a page that the
/// kernel wipes in the child: one load, no system call.
@safe
struct ForkGuard: @unchecked Sendable {
  // SAFETY: a page that is never unmapped; all access is atomic.
  private let word: UnsafePointer<Atomic<UInt64>>
  fileprivate let image: UInt64

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
  nonisolated(unsafe) fileprivate static let sharedWord: UnsafePointer<Atomic<UInt64>> = {
    guard let page = unsafe gp_fork_word() else {
      preconditionFailure("no page that fork() wipes: MADV_WIPEONFORK needs Linux 4.14")
    }
    return unsafe UnsafePointer(page.assumingMemoryBound(to: Atomic<UInt64>.self))
  }()
}

/// A moment of this process: it ends when an allocator that has caches changes its chunks, and by
/// fork() in the child. One load says whether it is still now, where a cache would need two.
@safe @usableFromInline
struct ChangeMoment {
  // SAFETY: in the page of ForkGuard, which is never unmapped; all access is atomic.
  @usableFromInline let word: UnsafePointer<Atomic<UInt64>>
  @usableFromInline let value: UInt64

  /// The moment that is now, in the image of a guard.
  init(_ guard: ForkGuard) {
    let word = unsafe Self.sharedWord
    // Wiped: the first cache in this image. The image makes the word another one than in ancestors,
    // in which as many changes may have been.
    if unsafe word.pointee.load(ordering: .relaxed) == 0 {
      _ = unsafe word.pointee.compareExchange(
        expected: 0, desired: `guard`.image << 32, ordering: .relaxed)
    }
    unsafe self.word = word
    value = unsafe word.pointee.load(ordering: .acquiring)
  }

  @inline(__always)
  var isNow: Bool { difference == 0 }

  /// 0 as long as the moment is now: to be looked at together with something else.
  @inlinable @inline(__always)
  var difference: UInt64 { unsafe word.pointee.load(ordering: .acquiring) ^ value }

  /// Ends the moment, for all caches of the process.
  static func end() {
    _ = unsafe sharedWord.pointee.add(1, ordering: .acquiringAndReleasing)
  }

  /// A cache line behind the guards' word, which is read all the time.
  private static var sharedWord: UnsafePointer<Atomic<UInt64>> {
    unsafe ForkGuard.sharedWord + 128 / MemoryLayout<Atomic<UInt64>>.stride
  }
}
