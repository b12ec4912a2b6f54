import GenPool

/// Tells a person at a terminal how far a long transfer is; says nothing to anyone else, nor of what
/// is done within half a second.
struct ProgressMeter {
  private let verb: String
  private let total: ByteCount
  private let start = ContinuousClock.now
  private let isWatched = StandardError.isTerminal
  private var shown: ContinuousClock.Instant?

  /// A meter of `total` bytes being moved; `verb` is like `filling`.
  init(_ verb: String, total: ByteCount) {
    self.verb = verb
    self.total = total
  }

  /// Shows that `done` bytes are done, ten times a second at most.
  mutating func show(_ done: ByteCount) {
    guard isWatched, total > .zero else { return }
    let now = ContinuousClock.now
    guard now - start > .milliseconds(500), shown.map({ now - $0 > .milliseconds(100) }) ?? true
    else { return }
    shown = now
    let percent = Int(Double(done.rawValue) / Double(total.rawValue) * 100)
    StandardError.write("\r\(verb) \(total): \(percent)%")
  }

  /// Takes the line away again.
  mutating func finish() {
    guard shown != nil else { return }
    StandardError.write("\r\u{1b}[K")
    shown = nil
  }
}
