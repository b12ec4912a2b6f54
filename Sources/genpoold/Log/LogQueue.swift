/// The lines of the log that wait to be written, in their order, and the number of those that were
/// dropped because too much waited.
///
/// Once a line is dropped, so are all until the next ``take()``: the report of them stands where
/// they are missing. Each call is O(1).
///
/// Invariant: `charge` is that of `lines`, and at most `capacity` but for urgent ones.
struct LogQueue {
  /// The lines up to a moment, and the number of those dropped behind them.
  struct Batch: Equatable {
    var lines: [String] = []
    var dropped = 0

    var isEmpty: Bool { lines.isEmpty && dropped == 0 }
  }

  /// The cost of a line beside its bytes: its string's header and place.
  static let overhead = 48

  private let capacity: Int
  private var batch = Batch()
  private var charge = 0

  /// - Parameter capacity: the most bytes of lines, each with ``overhead``.
  init(capacity: Int) {
    self.capacity = capacity
  }

  var isEmpty: Bool { batch.isEmpty }

  /// Adds a line, or drops it when there is no room.
  /// - Parameter isUrgent: whether it is kept whatever waits: the last line of a process.
  mutating func append(_ line: String, isUrgent: Bool = false) {
    let cost = line.utf8.count + Self.overhead
    guard isUrgent || (batch.dropped == 0 && charge + cost <= capacity) else {
      batch.dropped += 1
      return
    }
    batch.lines.append(line)
    charge += cost
  }

  /// Takes all that waits.
  mutating func take() -> Batch {
    defer {
      batch = Batch()
      charge = 0
    }
    return batch
  }
}
