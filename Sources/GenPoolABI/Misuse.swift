public import CGenPool
import GenPool
import Glibc
import Synchronization

/// Who is told when a caller does what the kernel answers with `BUG()` or `WARN()`.
///
/// What is fatal was found out before anything changed, so that a handler may return. No lock is held
/// while it runs.
enum Misuse {
  // No lock: a forked child may find it held for ever, and is told of its misuse as well. The handler
  // is taken away while its context changes.
  private static let handler = Atomic<UInt>(0)
  private static let context = Atomic<UInt>(0)

  static func setHandler(
    _ new: genpool_misuse_handler_t?, _ newContext: UnsafeMutableRawPointer?
  ) {
    handler.store(0, ordering: .sequentiallyConsistent)
    context.store(UInt(bitPattern: newContext), ordering: .sequentiallyConsistent)
    unsafe handler.store(unsafeBitCast(new, to: UInt.self), ordering: .sequentiallyConsistent)
  }

  /// What the kernel answers with `BUG()`. Returns only if a handler does.
  static func fatal(_ message: String) { report(1, message) }

  /// What the kernel answers with `WARN()`.
  static func warning(_ message: String) { report(0, message) }

  @inline(never)
  private static func report(_ fatal: CInt, _ message: String) {
    // SAFETY: the word was made of such a function, or of nil.
    let call = unsafe unsafeBitCast(
      handler.load(ordering: .sequentiallyConsistent), to: genpool_misuse_handler_t?.self)
    if let call = unsafe call {
      let context = unsafe UnsafeMutableRawPointer(
        bitPattern: context.load(ordering: .sequentiallyConsistent))
      unsafe message.withCString { unsafe call(fatal, $0, context) }
      return
    }
    let line = "genpool: \(message)\n"
    _ = unsafe line.withCString { unsafe write(STDERR_FILENO, $0, strlen($0)) }
    if fatal != 0 { abort() }
  }
}

@c @implementation
public func genpool_set_misuse_handler(
  _ handler: genpool_misuse_handler_t?, _ context: UnsafeMutableRawPointer?
) {
  unsafe Misuse.setHandler(handler, context)
}
