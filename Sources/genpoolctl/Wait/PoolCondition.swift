import BrokerProtocol
import GenPool
import GenPoolClient

/// A pool is in a state, and has enough memory.
struct PoolCondition: WaitCondition {
  /// The time between two looks at a pool's memory: no event reports that some came free.
  private static let pause = Duration.milliseconds(250)

  private let text: String
  private let goal: PoolGoal
  private let available: ByteCount?
  private let socket: BrokerSocket

  init(_ text: String, _ goal: PoolGoal, available: ByteCount?, daemon socket: BrokerSocket) {
    self.text = text
    self.goal = goal
    self.available = available
    self.socket = socket
  }

  var name: String { "pool \(text)" }

  /// The result of a look at the pools.
  private enum Finding {
    case holds
    /// The reason why not, and whether an event will tell when it may.
    case not(String, isTold: Bool)
  }

  func wait(until end: ContinuousClock.Instant) throws -> String? {
    while true {
      do {
        return try waitOnce(until: end)
      } catch let error as ClientError where error.isWorthWaiting {
        // The daemon is not there, or has gone: it may come back.
        guard rest(DaemonCondition.pause, until: end) else { return error.description }
      }
    }
  }

  /// The same, as long as the daemon is there.
  private func waitOnce(until end: ContinuousClock.Instant) throws -> String? {
    // Of this daemon: one that died and lost the pool has not drained it.
    var wasDraining = false
    let connection = try DaemonCondition.connection(to: socket, until: end)
    // Events first, then the look: nothing falls between the two.
    let events = try DaemonCondition.connection(to: socket, until: end).events()
    while true {
      switch try look(over: connection, &wasDraining) {
      case .holds: return nil
      case .not(let problem, let isTold):
        repeat {
          guard
            awaitReadable(events.descriptor, isTold ? .seconds(3600) : Self.pause, until: end)
          else { return problem }
        } while try isTold && takeAll(events) == 0
        if !isTold { _ = try takeAll(events) }
      }
    }
  }

  private func takeAll(_ events: EventStream) throws -> Int {
    var count = 0
    while try events.next() != nil { count += 1 }
    return count
  }

  private func look(over connection: Connection, _ wasDraining: inout Bool) throws -> Finding {
    let pools = try connection.pools()
    guard let name = try PoolPrefix(text: text).choose(among: pools),
      let pool = pools.first(where: { $0.name == name })
    else {
      if wasDraining, goal == .drained { return .holds }
      return .not("no such pool is attached", isTold: true)
    }
    // One of which nothing tells whether it is reached is detached without being drained.
    wasDraining =
      pool.state == .drained
      || pool.state == .draining && pool.reach != "unknown" && pool.witness != "none"
    guard pool.state.rawValue == goal.rawValue else {
      let cause =
        pool.failure.map { ": \($0)" } ?? (pool.state == .draining ? ": \(pool.use)" : "")
      // No event tells that the kernel cannot answer.
      let isTold = pool.state != .draining || goal != .drained
      return .not("it is \(pool.state.rawValue)\(cause)", isTold: isTold)
    }
    guard let available, pool.available < available else { return .holds }
    return .not(
      "\(pool.available) of it are clean and free, \(pool.dirty) are being zeroed", isTold: false)
  }
}
