import CGenPoolInline
import Synchronization

/// A mutual exclusion lock that stays usable in a forked child.
///
/// The standard library's `Mutex` remembers the owner's thread id and dies in a child whose parent
/// held it. This lock stores no owner; after a fork ``ForkGuard`` decides what may be done.
///
/// A release stores "free" and then reads the number of sleepers; a thread that goes to sleep
/// counts itself and then reads whether the lock is free. Each needs a barrier between the two, or
/// both may miss the other's store. Sleepers are rare: their barrier is one for all threads,
/// membarrier(2), and a release needs none, which was about half of an uncontended acquire and
/// release.
///
/// The thread sanitizer of a program does not see these atomics in a library that was built without
/// it, and has to be called. For that such a lock has another word for "free": each acquire then
/// takes the slow path, and one without a sanitizer pays nothing.
struct Lock: ~Copyable {
  private let word: Atomic<UInt32>
  private let sleepers = Atomic<UInt32>(0)
  private let mode: Mode

  /// The way a release reaches the sleepers, and the one that reports to a sanitizer.
  private enum Mode { case barrierForAll, fences, reported }

  private static var free: UInt32 { 0 }
  private static var held: UInt32 { 1 }
  private static var freeAndReported: UInt32 { 2 }
  /// Whether the kernel has membarrier(2) for this process.
  private static let hasBarrierForAll = gp_register_barrier_for_all()

  init() {
    self.init(hasBarrierForAll: Self.hasBarrierForAll, isReported: gp_has_thread_sanitizer())
  }

  /// A lock whose sleepers have the barrier for all threads, or one that has fences; one that is
  /// reported to the thread sanitizer, if there is one, has fences. For tests.
  init(hasBarrierForAll: Bool, isReported: Bool = false) {
    mode = isReported ? .reported : hasBarrierForAll ? .barrierForAll : .fences
    word = Atomic(isReported ? Self.freeAndReported : Self.free)
  }

  @inline(__always)
  func acquire() {
    let (taken, _) = word.weakCompareExchange(
      expected: Self.free, desired: Self.held, ordering: .acquiring)
    if !taken { wait() }
  }

  @inline(__always)
  func release() {
    if mode == .barrierForAll {
      word.store(Self.free, ordering: .releasing)
      gp_compiler_barrier()
    } else {
      releaseWithFence()
    }
    if sleepers.load(ordering: .relaxed) != 0 { wakeOne() }
  }

  @inline(never)
  private func releaseWithFence() {
    if mode == .reported { unsafe withFutexWord { unsafe gp_report_release($0) } }
    word.store(freeWord, ordering: .releasing)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
  }

  private var freeWord: UInt32 { mode == .reported ? Self.freeAndReported : Self.free }

  private func tryAcquire() -> Bool {
    let free = freeWord
    guard word.load(ordering: .relaxed) == free,
      word.compareExchange(expected: free, desired: Self.held, ordering: .acquiring).exchanged
    else { return false }
    if mode == .reported { unsafe withFutexWord { unsafe gp_report_acquire($0) } }
    return true
  }

  @inline(never)
  private func wait() {
    if mode == .reported, tryAcquire() { return }
    // Critical sections are tens of nanoseconds: looking now and then beats two system calls. Seldom,
    // because each look takes the line from the holder's cache: whoever has lock and index at hand
    // works on meanwhile, which is most of what two threads can do together.
    var pauses = 16
    for _ in 0..<20 {
      for _ in 0..<pauses { gp_spin_pause() }
      if tryAcquire() { return }
      pauses = min(2 * pauses, 256)
    }
    sleepers.wrappingAdd(1, ordering: .relaxed)
    var isSeen = true
    if mode == .barrierForAll {
      isSeen = gp_barrier_for_all()
    } else {
      atomicMemoryFence(ordering: .sequentiallyConsistent)
    }
    while !tryAcquire() {
      unsafe withFutexWord {
        // A thread that was not seen to go to sleep may not be woken.
        unsafe isSeen ? gp_futex_wait($0, Self.held) : gp_futex_wait_briefly($0, Self.held)
      }
    }
    sleepers.wrappingSubtract(1, ordering: .relaxed)
  }

  @inline(never)
  private func wakeOne() {
    unsafe withFutexWord { unsafe gp_futex_wake($0) }
  }

  // SAFETY: the kernel reads the word while `self` is borrowed, hence in place: a Lock lives only
  // in heap storage of a pool, never on the stack of a caller.
  private func withFutexWord(_ body: (UnsafeMutablePointer<UInt32>) -> Void) {
    unsafe withUnsafePointer(to: word) {
      unsafe body(UnsafeMutableRawPointer(mutating: $0).assumingMemoryBound(to: UInt32.self))
    }
  }
}

/// A value with the lock that guards it.
// SAFETY: the storage is the value's alone, from init to deinit; `value` is touched only between
// acquire and release, which is for the few who call them to keep.
@safe
struct Locked<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
  private let lock = Lock()
  private let storage: UnsafeMutablePointer<Value>

  init(_ value: consuming Value) {
    unsafe storage = .allocate(capacity: 1)
    unsafe storage.initialize(to: value)
  }

  deinit {
    unsafe storage.deinitialize(count: 1)
    unsafe storage.deallocate()
  }

  /// Runs `body` on the value, the lock held. Not recursive.
  @inline(__always)
  func withLock<Result: ~Copyable, Failure: Error>(
    _ body: (inout Value) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    lock.acquire()
    defer { lock.release() }
    return try unsafe body(&storage.pointee)
  }

  /// For those who hold several locks at once, or know that nobody else is there.
  func acquire() { lock.acquire() }
  func release() { lock.release() }

  /// The value, to be read. The caller has acquired the lock, or is alone in a forked child.
  @inline(__always)
  var value: Value {
    _read { yield unsafe storage.pointee }
  }

  /// Runs `body` on the value. The caller has acquired the lock.
  // Not by a setter: to the thread sanitizer that changes the lock as well.
  @inline(__always)
  func withValue<Result: ~Copyable, Failure: Error>(
    _ body: (inout Value) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try unsafe body(&storage.pointee)
  }

  /// Puts another value in place. The caller has acquired the lock.
  func replace(by new: consuming Value) { unsafe storage.pointee = new }
}
