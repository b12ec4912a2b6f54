import Glibc
import LinuxSystem
import SystemPackage

/// A thread that runs one function. It is joined exactly once: by ``join()`` or `deinit`.
struct WorkerThread: ~Copyable {
  private final class Start: Sendable {
    let body: @Sendable () -> Void

    init(_ body: @escaping @Sendable () -> Void) {
      self.body = body
    }
  }

  private let thread: pthread_t

  /// Starts `body`. Signals that the caller has blocked stay blocked in it.
  init(_ body: @escaping @Sendable () -> Void) throws(SystemError) {
    var thread = pthread_t()
    // SAFETY: the thread takes the one reference that is retained here; if it does not start, it is
    // taken back.
    let start = unsafe Unmanaged.passRetained(Start(body))
    let error = unsafe pthread_create(
      &thread, nil,
      { argument in
        if let argument = unsafe argument {
          unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue().body()
        }
        return nil
      }, start.toOpaque())
    guard error == 0 else {
      unsafe start.release()
      throw SystemError(
        operation: "start", subject: "a thread", errno: Errno(rawValue: error))
    }
    self.thread = thread
  }

  /// Waits for its end.
  consuming func join() {}

  deinit {
    pthread_join(thread, nil)
  }
}
