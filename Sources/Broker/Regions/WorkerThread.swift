import Glibc
import LinuxSystem
import SystemPackage

/// A thread that runs one function. It is joined exactly once: by ``join()`` or `deinit`.
struct WorkerThread: ~Copyable {
  private let thread: pthread_t

  /// Starts `body`. Signals that the caller has blocked stay blocked in it.
  init(_ body: @escaping @Sendable () -> Void) throws(SystemError) {
    thread = try attempt("start", "a thread", try startThread(body))
  }

  /// Waits for its end.
  consuming func join() {}

  deinit {
    pthread_join(thread, nil)
  }
}
