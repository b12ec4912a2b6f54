import Synchronization

/// The IOMMU groups that were read while many devices are looked at: each is read once then, and
/// not once for each of its members, which would cost the square of their number.
///
/// Invariant: keeps nothing while ``reusing(_:)`` is not running, and reuses nothing that is
/// older than a second, however many threads have it running in turn.
final class IOMMUGroupReadings: Sendable {
  private struct State {
    /// The calls of ``reusing(_:)`` that are running, on any thread.
    var users = 0
    var groups: [UInt32: (group: IOMMUGroup, time: ContinuousClock.Instant)] = [:]
  }

  private static let lifetime = Duration.seconds(1)

  private let state = Mutex(State())

  /// Calls `body`, during which a group that was read within the last second is not read again.
  func reusing<Result: ~Copyable, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    state.withLock { $0.users += 1 }
    defer {
      state.withLock { state in
        state.users -= 1
        if state.users == 0 { state.groups = [:] }
      }
    }
    return try body()
  }

  /// The group of a number: one that was read, or what `read` returns.
  func group(
    _ number: UInt32, else read: () throws(DeviceError) -> IOMMUGroup
  ) throws(DeviceError) -> IOMMUGroup {
    let now = ContinuousClock.now
    if let known = state.withLock({ $0.groups[number] }), now - known.time < Self.lifetime {
      return known.group
    }
    let group = try read()
    state.withLock { state in
      if state.users > 0 { state.groups[number] = (group, now) }
    }
    return group
  }
}
