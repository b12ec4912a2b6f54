import DeviceMemory
import GenPool
import Synchronization

/// The memory of an attached region, used by three threads: the scrubber's touches it, the broker's
/// closes it, the reopener's opens it anew. The lock decides which is first, so that no thread
/// touches memory that was given back.
final class RegionMemory: Sendable {
  /// How zeroing a piece of it went.
  enum Outcome: Sendable {
    /// All of it was written, and what was read back was zero.
    case clean
    /// It answers, but does not stay zero: somebody writes.
    case notZero(DeviceFault)
    /// It does not answer.
    case failed(DeviceFault)
    /// It has been closed.
    case closed
  }

  /// One word in 1024 is read back, and the last: reading all of an uncached BAR takes a
  /// microsecond for 8 bytes.
  static let samplingDistance = ByteCount(8 * 1024)
  /// How often memory that does not stay zero is zeroed.
  private static let attempts = 3

  private struct State: ~Copyable {
    var region: Region?
    var isStopped = false
    /// Whether it is closed for good.
    var hasEnded = false
  }

  private let state: Mutex<State>

  init(_ region: consuming Region) {
    state = Mutex(State(region: region))
  }

  /// Zeroes `count` bytes from `offset` on and reads samples back. Slow: for the scrubber's thread.
  func scrub(at offset: ByteCount, count: ByteCount) -> Outcome {
    state.withLock { state in
      var outcome = Outcome.closed
      guard !state.isStopped else { return outcome }
      for _ in 0..<Self.attempts {
        outcome = Self.scrub(&state.region, at: offset, count: count)
        guard case .notZero = outcome else { break }
      }
      return outcome
    }
  }

  private static func scrub(
    _ region: inout Region?, at offset: ByteCount, count: ByteCount
  ) -> Outcome {
    do throws(DeviceFault) {
      guard try region?.zero(at: offset, count: count) != nil else { return .closed }
      try region?.verifyZero(at: offset, count: count, everyBytes: samplingDistance)
      return .clean
    } catch {
      if case .notZero = error.reason { return .notZero(error) }
      return .failed(error)
    }
  }

  /// Touches it no more. Waits for the slice that is being scrubbed, if any.
  func stopScrubbing() {
    state.withLock { $0.isStopped = true }
  }

  /// The memory, closed before, is open again; unless it has ended meanwhile, which gives it back.
  func reopen(_ region: consuming Region) {
    var region: Region? = region
    state.withLock { state in
      if !state.hasEnded { state.region = region.take() }
    }
  }

  /// Closes it for good.
  func end() {
    state.withLock { $0.hasEnded = true }
    close()
  }

  /// Unmaps it and gives it back. Waits for the slice that is being scrubbed, if any.
  func close() {
    // Given back outside of the lock: a device takes its time.
    var region: Region?
    state.withLock { state in region = state.region.take() }
    _ = consume region
  }
}
