import BrokerProtocol
import GenPoolClient
import Glibc
import SystemPackage

/// The broker's events of pools, for commands that wait for a state. Takes a connection of its own.
struct PoolEvents {
  private let events: EventStream

  init(of broker: BrokerOptions) throws {
    events = try broker.connectToShow().events()
  }

  init(over connection: Connection) throws(ClientError) {
    events = try connection.events()
  }

  /// Returns true when something has happened, false when `deadline` is over before. Nil is never.
  /// - Throws: when the broker hangs up.
  func wait(until deadline: ContinuousClock.Instant?) throws -> Bool {
    while true {
      var hasEvent = false
      while try events.next() != nil { hasEvent = true }
      if hasEvent { return true }
      guard let time = deadline.map({ ContinuousClock.now.duration(to: $0) }) else {
        try poll(milliseconds: -1)
        continue
      }
      guard time > .zero else { return false }
      try poll(milliseconds: time.pollTime)
    }
  }

  private func poll(milliseconds: CInt) throws(Failure) {
    var entry = pollfd(fd: events.descriptor, events: Int16(POLLIN), revents: 0)
    guard unsafe Glibc.poll(&entry, 1, milliseconds) < 0 else { return }
    let errno = Errno(rawValue: errno)
    guard errno == .interrupted else { throw Failure("wait for events: \(errno)") }
  }
}

extension Duration {
  /// The milliseconds for poll(2), rounded up; an hour at most, after which the caller looks again.
  var pollTime: CInt {
    let limited = min(self, .seconds(3600))
    let (seconds, attoseconds) = limited.components
    return CInt(
      clamping: seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
  }
}
