import Glibc
import Synchronization

/// A value that each process has for itself: a forked child begins with a new one.
///
/// The parent's may be in the hands of a thread that the child has not, and then its lock would
/// never be released; the standard library's even dies of that. So a child lets it be, and what was
/// in it as well: that is the parent's.
final class PerProcess<Value: Sendable>: Sendable {
  private final class Holder: Sendable {
    let process = getpid()
    let value: Mutex<Value>

    init(_ value: consuming sending Value) {
      self.value = Mutex(value)
    }
  }

  // A holder with one reference, which is never given back.
  private let current = Atomic<UInt>(0)
  private let initial: @Sendable () -> Value

  /// - Parameter initial: makes the value that a process begins with.
  init(_ initial: @escaping @Sendable () -> Value) {
    self.initial = initial
  }

  /// Calls `body` with this process's value, while no other thread has it.
  func withLock<Result, Failure: Error>(
    _ body: (inout Value) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let holder = holder()
    return try holder.value.withLock { value throws(Failure) in try body(&value) }
  }

  private func holder() -> Holder {
    let word = current.load(ordering: .acquiring)
    if let known = Self.holder(word), known.process == getpid() { return known }
    let made = Holder(initial())
    let (exchanged, present) = unsafe current.compareExchange(
      expected: word, desired: UInt(bitPattern: Unmanaged.passUnretained(made).toOpaque()),
      ordering: .acquiringAndReleasing)
    guard exchanged else {
      // Another thread of this process was faster: a child begins with one.
      return Self.holder(present) ?? made
    }
    _ = unsafe Unmanaged.passRetained(made)
    return made
  }

  // SAFETY: a word of `current` is 0 or a holder that is never released.
  private static func holder(_ word: UInt) -> Holder? {
    unsafe UnsafeRawPointer(bitPattern: word).map {
      unsafe Unmanaged<Holder>.fromOpaque($0).takeUnretainedValue()
    }
  }
}
