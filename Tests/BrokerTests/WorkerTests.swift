import LinuxSystem
import Synchronization
import Testing

@testable import Broker

extension BrokerTests {
  /// A worker of which events are lost.
  struct WorkerTests {
    private final class Raised: Sendable {
      private let count = Atomic(0)

      /// The number of one more event, from 1 on.
      func next() -> Int { count.add(1, ordering: .relaxed).newValue }
    }

    /// The results of jobs that were given on two occasions, each a list.
    private func results(
      delay: Duration, losing lost: Set<Int>
    ) throws -> [[Int]] {
      let loop = try EventLoop()
      let raised = Raised()
      var results: [[Int]] = [[], []]
      var submit: (Int) -> Void = { _ in }
      let worker = try Worker<Int, Int>(
        on: loop, delay: delay,
        raise: { event in
          if !lost.contains(raised.next()) { event.raise() }
        },
        body: { (finished: $0, rest: nil) },
        handler: { result in
          results[result / 10].append(result)
          if result == 2 { loop.after(.milliseconds(100)) { submit(1) } }
          if result == 12 { loop.stop() }
        })
      submit = { occasion in (0...2).forEach { worker.submit(occasion * 10 + $0) } }
      submit(0)
      // Far beyond what the looks at it take: without them this is the end.
      loop.after(.seconds(30)) { loop.stop() }
      try loop.run()
      submit = { _ in }
      return results
    }

    @Test(
      arguments: [Duration.zero, .milliseconds(1)],
      [[1], [2], [3], [1, 2, 3]] as [Set<Int>])
    func `events that are lost leave no job undone and no result unseen`(
      delay: Duration, lost: Set<Int>
    ) throws {
      #expect(try results(delay: delay, losing: lost) == [[0, 1, 2], [10, 11, 12]])
    }
  }
}
