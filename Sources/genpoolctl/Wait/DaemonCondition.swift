import BrokerProtocol
import GenPoolClient
import Glibc
import LinuxSystem
import SystemPackage

/// genpoold answers.
struct DaemonCondition: WaitCondition {
  /// The time between two attempts to connect: nothing reports a daemon that starts.
  static let pause = Duration.milliseconds(100)

  private let socket: BrokerSocket

  init(_ socket: BrokerSocket) {
    self.socket = socket
  }

  var name: String { "daemon" }

  func wait(until end: ContinuousClock.Instant) throws -> String? {
    while true {
      do throws(ClientError) {
        _ = try Self.connection(to: socket, until: end).hello()
        return nil
      } catch {
        guard error.isWorthWaiting else { throw error }
        guard rest(Self.pause, until: end) else { return error.description }
      }
    }
  }

  /// A connection of which no call takes much longer than until `end`.
  static func connection(
    to socket: BrokerSocket, until end: ContinuousClock.Instant
  ) throws(ClientError) -> Connection {
    let left = ContinuousClock.now.duration(to: end)
    return try Connection(to: socket, timeout: max(.seconds(1), min(left, .seconds(30))))
  }
}

extension ClientError {
  /// Whether there is no daemon yet, or it does not answer: time may mend that.
  var isWorthWaiting: Bool {
    if isUnreachable { return true }
    guard case .system(let error) = self else { return false }
    return error.errno == .timedOut
  }
}

/// Sleeps for `pause`, or until `end` if that comes first. Returns false, at once, when it has
/// come.
func rest(_ pause: Duration, until end: ContinuousClock.Instant) -> Bool {
  awaitReadable(-1, pause, until: end)
}

/// Waits until a descriptor is readable, for `pause` at most; -1 is none. Returns false, at once,
/// when `end` has come.
func awaitReadable(
  _ descriptor: CInt, _ pause: Duration, until end: ContinuousClock.Instant
) -> Bool {
  let left = ContinuousClock.now.duration(to: end)
  guard left > .zero else { return false }
  var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
  // An error, a signal's arrival as a rule, is an early end of the pause.
  _ = unsafe poll(&entry, 1, min(pause, left).pollTime)
  return true
}
