import Testing

@testable import genpoold

/// The lines that wait.
struct LogQueueTests {
  /// Room for `lines` lines of one byte.
  private func queue(of lines: Int) -> LogQueue {
    LogQueue(capacity: lines * (1 + LogQueue.overhead))
  }

  @Test func `lines come out in their order, once`() {
    var queue = queue(of: 3)
    for line in ["a", "b", "c"] { queue.append(line) }
    #expect(!queue.isEmpty)
    #expect(queue.take() == .init(lines: ["a", "b", "c"]))
    #expect(queue.isEmpty && queue.take().isEmpty)
  }

  @Test func `lines without room are dropped and counted, and the next batch has room again`() {
    var queue = queue(of: 2)
    for line in ["a", "b", "c", "d", "e"] { queue.append(line) }
    #expect(queue.take() == .init(lines: ["a", "b"], dropped: 3))
    queue.append("f")
    #expect(queue.take() == .init(lines: ["f"]))
  }

  @Test func `a line that would fit behind a dropped one is dropped, too`() {
    var queue = queue(of: 2)
    queue.append("a")
    queue.append("too long for the rest, with its overhead")
    queue.append("b")
    #expect(queue.take() == .init(lines: ["a"], dropped: 2))
  }

  @Test func `a line longer than all of it is dropped alone`() {
    var queue = queue(of: 1)
    queue.append("too long")
    #expect(!queue.isEmpty)
    #expect(queue.take() == .init(lines: [], dropped: 1))
  }

  @Test func `empty lines have a cost`() {
    var queue = LogQueue(capacity: LogQueue.overhead)
    queue.append("")
    queue.append("")
    #expect(queue.take() == .init(lines: [""], dropped: 1))
  }

  @Test func `an urgent line is kept`() {
    var queue = queue(of: 1)
    for line in ["a", "b"] { queue.append(line) }
    queue.append("last", isUrgent: true)
    #expect(queue.take() == .init(lines: ["a", "last"], dropped: 1))
  }
}
