import CLinux

extension EventCounter {
  /// Adds one: a thread that waits for the counter goes on. Never waits; a full counter stays as it
  /// is.
  package func raise() { _ = gl_event_raise(rawValue) }

  /// Waits until the counter is not 0, and sets it to 0.
  package func wait() { _ = gl_event_wait(rawValue) }
}
