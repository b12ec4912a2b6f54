import Synchronization

/// Readings of the whole tree while many devices are looked at: each IOMMU group is read once
/// then, and so are the places of all BARs, and not once for each device, which would cost the
/// square of their number.
///
/// Invariant: keeps nothing while ``reusing(_:)`` is not running, and reuses no group that is older
/// than a second, and no places that are older than ten, however many threads have it running in
/// turn. Drivers are bound any time; a BAR is moved when a device comes or root says so.
final class TreeReadings: Sendable {
  private struct State {
    /// The calls of ``reusing(_:)`` that are running, on any thread.
    var users = 0
    var groups: [UInt32: Dated<IOMMUGroup>] = [:]
    var places: Dated<[BARPlace]>?
  }

  private struct Dated<Value: Sendable>: Sendable {
    let value: Value
    let time: ContinuousClock.Instant
  }

  private static let lifetimes = (group: Duration.seconds(1), places: Duration.seconds(10))

  private let state = Mutex(State())

  /// Calls `body`, during which what was read within the last second is not read again.
  func reusing<Result: ~Copyable, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    state.withLock { $0.users += 1 }
    defer {
      state.withLock { state in
        state.users -= 1
        if state.users == 0 { (state.groups, state.places) = ([:], nil) }
      }
    }
    return try body()
  }

  /// The group of a number: one that was read, or what `read` returns.
  func group(
    _ number: UInt32, else read: () throws(DeviceError) -> IOMMUGroup
  ) throws(DeviceError) -> IOMMUGroup {
    try value(of: { $0.groups[number] }, within: Self.lifetimes.group, else: read) {
      $0.groups[number] = $1
    }
  }

  /// The places of all devices' BARs: those that were read, or what `read` returns.
  func places(
    else read: () throws(DeviceError) -> [BARPlace]
  ) throws(DeviceError) -> [BARPlace] {
    try value(of: { $0.places }, within: Self.lifetimes.places, else: read) { $0.places = $1 }
  }

  private func value<Value>(
    of known: (State) -> Dated<Value>?, within lifetime: Duration,
    else read: () throws(DeviceError) -> Value,
    keep: (inout State, Dated<Value>) -> Void
  ) throws(DeviceError) -> Value {
    let now = ContinuousClock.now
    if let known = state.withLock({ known($0) }), now - known.time < lifetime {
      return known.value
    }
    let value = try read()
    state.withLock { state in
      if state.users > 0 { keep(&state, Dated(value: value, time: now)) }
    }
    return value
  }
}
