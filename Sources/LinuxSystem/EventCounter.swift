import CLinux
package import SystemPackage

/// A counter that one thread, process or the kernel raises and another waits for. eventfd(2).
package struct EventCounter: ~Copyable, Sendable {
  private let descriptor: Descriptor

  /// Creates a counter at 0.
  package init() throws(Errno) {
    descriptor = try Descriptor(result: gl_event_create())
  }

  /// The counter's descriptor: readable while the counter is not 0.
  package var rawValue: CInt { descriptor.rawValue }

  /// Sets the counter to 0. Never waits.
  package func clear() { _ = gl_event_clear(rawValue) }
}
