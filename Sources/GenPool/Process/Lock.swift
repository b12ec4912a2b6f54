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

  /// Runs `body` with the lock held. Not recursive.
  @inline(__always)
  func withLock<Result: ~Copyable, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    acquire()
    defer { release() }
    return try body()
  }

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
    // Critical sections are tens of nanoseconds: a short spin beats two system calls.
    for _ in 0..<100 {
      if word.load(ordering: .relaxed) == Self.free,
        word.compareExchange(expected: Self.free, desired: Self.held, ordering: .acquiring)
          .exchanged
      {
        return
      }
      gp_spin_pause()
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
