import CLinux
package import SystemPackage

/// A set of descriptors that one thread waits for at once: until they are not ready any more, or
/// for changes. epoll(7).
package struct Epoll: ~Copyable, Sendable {
  /// Readiness for input or output.
  package struct Readiness: OptionSet, Sendable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) {
      self.rawValue = rawValue
    }

    package static let readable = Self(rawValue: UInt32(GL_READABLE))
    package static let writable = Self(rawValue: UInt32(GL_WRITABLE))
    /// Reported when the other end has taken bytes, and once when that is asked for; not for as
    /// long as there is room.
    package static let drained = Self(rawValue: UInt32(GL_WRITABLE) | UInt32(GL_EDGE))
    /// Both directions are closed. Always reported.
    package static let hangUp = Self(rawValue: UInt32(GL_HANG_UP))
    /// Always reported.
    package static let failed = Self(rawValue: UInt32(GL_FAILED))
  }

  /// One descriptor that is ready.
  package struct Event {
    /// The token that the descriptor was added with.
    package let token: UInt64
    package let readiness: Readiness
  }

  /// The most events that one wait returns.
  private static let batch = 64

  private let descriptor: Descriptor

  /// Creates an empty set.
  package init() throws(Errno) {
    descriptor = try Descriptor(result: gl_epoll_create())
  }

  /// The set's own number: readable while a descriptor in the set is ready.
  package var rawValue: CInt { descriptor.rawValue }

  /// Adds `descriptor`, which stays open until ``remove(_:)``.
  package func add(
    _ descriptor: CInt, _ interest: Readiness, token: UInt64
  ) throws(Errno) {
    _ = try gl_epoll_add(rawValue, descriptor, interest.rawValue, token).orErrno()
  }

  /// Replaces the interest in `descriptor`. Does not fail for one in the set: nothing is allocated.
  package func change(_ descriptor: CInt, to interest: Readiness, token: UInt64) {
    _ = gl_epoll_change(rawValue, descriptor, interest.rawValue, token)
  }

  /// Removes `descriptor`. Call it before the descriptor is closed.
  package func remove(_ descriptor: CInt) {
    _ = gl_epoll_remove(rawValue, descriptor)
  }

  /// Waits until a descriptor is ready.
  /// - Parameter milliseconds: the longest wait; -1 for no limit.
  /// - Returns: at most 64 events; none after the time or a signal.
  package func wait(milliseconds: CInt) throws(Errno) -> [Event] {
    var ready = [gl_ready](repeating: gl_ready(), count: Self.batch)
    let count = try
      (unsafe ready.withUnsafeMutableBufferPointer { room in
        unsafe gl_epoll_wait(rawValue, room.baseAddress, CInt(room.count), milliseconds)
      }).orErrno()
    return ready.prefix(Int(count)).map {
      Event(token: $0.token, readiness: Readiness(rawValue: $0.events))
    }
  }
}
