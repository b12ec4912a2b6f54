package import Glibc
package import SystemPackage

/// Starts a thread that runs `body`; it is to be joined or detached. Signals that the caller has
/// blocked stay blocked in it. pthread_create(3).
package func startThread(_ body: @escaping @Sendable () -> Void) throws(Errno) -> pthread_t {
  final class Start: Sendable {
    let body: @Sendable () -> Void

    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
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
    throw Errno(rawValue: error)
  }
  return thread
}
