import CLinux

/// Signals that are read from a descriptor instead of being delivered. signalfd(2).
package struct SignalQueue: ~Copyable, Sendable {
  private let descriptor: Descriptor

  /// Blocks `signals` in the calling thread, and in those it starts later, and queues them.
  package init(_ signals: [CInt]) throws(SystemError) {
    let result = unsafe signals.withUnsafeBufferPointer {
      unsafe gl_signals_create($0.baseAddress, CInt($0.count))
    }
    descriptor = try Descriptor(owningResult: result, of: "wait for", "signals")
  }

  /// The queue's descriptor: readable while a signal is in it.
  package var rawValue: CInt { descriptor.rawValue }

  /// The number of the next signal; nil when none has come.
  package func next() -> CInt? {
    let signal = gl_signals_next(rawValue)
    return signal > 0 ? signal : nil
  }
}
