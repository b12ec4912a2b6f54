import Synchronization

/// The IOMMU groups that were read while many devices are looked at: each is read once then, and not
/// once for each of its members, which would cost the square of their number.
///
/// Invariant: keeps nothing while ``reusing(_:)`` is not running, so that an answer is never older
/// than the call that reuses it.
final class IOMMUGroupReadings: Sendable {
  private struct State {
    /// The calls of ``reusing(_:)`` that are running, on any thread.
    var users = 0
    var groups: [UInt32: IOMMUGroup] = [:]
  }

  private let state = Mutex(State())

  /// Reads each group once as long as `body` runs, whoever of this object's users asks.
  func reusing<Result, Failure: Error>(
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
    if let known = state.withLock({ $0.groups[number] }) { return known }
    let group = try read()
    state.withLock { state in
      if state.users > 0 { state.groups[number] = group }
    }
    return group
  }
}
