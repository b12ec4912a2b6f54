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

    // Not by literals and the functions that every set has: those are generic, and cost a call of a
    // client more than what it asks for.

    package init(readable: Bool, writable: Bool) {
      rawValue = (readable ? UInt32(GL_READABLE) : 0) | (writable ? UInt32(GL_WRITABLE) : 0)
    }

    /// Whether nothing can be sent or received any more.
    package var isOfEnd: Bool {
      rawValue & (UInt32(GL_HANG_UP) | UInt32(GL_FAILED)) != 0
    }

    /// Whether there is input.
    package var isReadable: Bool { rawValue & UInt32(GL_READABLE) != 0 }
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
    var events: [Event] = []
    // On the stack: this is called for each call of a client.
    let count = unsafe withUnsafeTemporaryAllocation(
      of: gl_ready.self, capacity: Self.batch
    ) { room in
      let count = unsafe gl_epoll_wait(
        rawValue, room.baseAddress, CInt(room.count), milliseconds)
      guard count > 0 else { return count }
      events.reserveCapacity(Int(count))
      for index in 0..<Int(count) {
        // SAFETY: so many were written.
        let one = unsafe room[index]
        events.append(Event(token: one.token, readiness: Readiness(rawValue: one.events)))
      }
      return count
    }
    _ = try count.orErrno()
    return events
  }
}
