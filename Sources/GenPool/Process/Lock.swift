import CGenPoolInline
import Synchronization

/// A mutual exclusion lock of one word that stays usable in a forked child.
///
/// Three states as in Drepper's "Futexes Are Tricky": free, held, held with sleepers. The standard
/// library's `Mutex` remembers the owner's thread id and dies in a child whose parent held it.
/// This one remembers nobody; who may take it after a fork is for ``ForkGuard`` to say.
struct Lock: ~Copyable {
  private let word = Atomic<UInt32>(0)

  private static var free: UInt32 { 0 }
  private static var held: UInt32 { 1 }
  private static var contended: UInt32 { 2 }

  @inline(__always)
  func acquire() {
    let (taken, _) = word.weakCompareExchange(
      expected: Self.free, desired: Self.held, ordering: .acquiring)
    if !taken { wait() }
  }

  @inline(__always)
  func release() {
    if word.exchange(Self.free, ordering: .releasing) == Self.contended { wakeOne() }
  }

  @inline(never)
  private func wait() {
    // Critical sections are tens of nanoseconds: looking now and then beats two system calls. Seldom,
    // because each look takes the line from the holder's cache: whoever has lock and index at hand
    // works on meanwhile, which is most of what two threads can do together.
    var pauses = 16
    for _ in 0..<20 {
      for _ in 0..<pauses { gp_spin_pause() }
      if word.load(ordering: .relaxed) == Self.free,
        word.compareExchange(expected: Self.free, desired: Self.held, ordering: .acquiring)
          .exchanged
      {
        return
      }
      pauses = min(2 * pauses, 256)
    }
    while word.exchange(Self.contended, ordering: .acquiring) != Self.free {
      unsafe withFutexWord { unsafe gp_futex_wait($0, Self.contended) }
    }
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

  /// The value. The caller has acquired the lock, or is alone in a forked child.
  @inline(__always)
  var value: Value {
    _read { yield unsafe storage.pointee }
    nonmutating _modify { yield unsafe &storage.pointee }
  }
}
