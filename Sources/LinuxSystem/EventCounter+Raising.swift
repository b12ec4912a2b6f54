import CLinux

extension EventCounter {
  /// Adds one: a thread that waits for the counter goes on. Never waits; a full counter stays as it
  /// is.
  package func raise() { _ = gl_event_raise(rawValue) }

  /// Waits until the counter is not 0, and sets it to 0; or until `limit` has passed, in whole
  /// milliseconds and an hour at most. Nil is without end.
  package func wait(limit: Duration? = nil) {
    let milliseconds = limit.map { min($0, .seconds(3600)) / .milliseconds(1) }
    _ = gl_event_wait(rawValue, milliseconds.map { Int32($0.rounded(.up)) } ?? -1)
  }
}
