import LinuxSystem

extension LeaseBroker {
  /// Ends a broker from any thread.
  public final class Stopper: Sendable {
    private let event: EventCounter

    init() throws(SystemError) {
      event = try attempt("create", "an event", try EventCounter())
    }

    /// The descriptor that becomes readable with ``stop()``.
    var descriptor: CInt { event.rawValue }

    /// Makes ``LeaseBroker/run()`` return soon.
    public func stop() {
      event.raise()
    }
  }
}
