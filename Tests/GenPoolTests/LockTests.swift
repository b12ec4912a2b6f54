import Glibc
import Synchronization
import Testing

@testable import GenPool

/// The lock with threads that have to sleep, because it is held for longer than they spin.
struct LockTests {
  /// What the threads share.
  private final class Shared: Sendable {
    let lock: Lock
    /// Read and written apart: no more than one may be inside.
    let count = Atomic(0)
    static let times = 1200

    init(hasBarrierForAll: Bool, isReported: Bool) {
      lock = Lock(hasBarrierForAll: hasBarrierForAll, isReported: isReported)
    }

    /// Holds the lock now and then for longer than anybody spins.
    func work() {
      for number in 0..<Self.times {
        lock.acquire()
        let before = count.load(ordering: .relaxed)
        if number % 4 == 0 { usleep(200) }
        count.store(before + 1, ordering: .relaxed)
        lock.release()
      }
    }
  }

  // A sleeper that nobody wakes would wait for ever.
  @Test(
    .timeLimit(.minutes(2)), arguments: [(true, false), (false, false), (true, true)])
  func `no sleeper is forgotten, and no two threads are inside`(
    hasBarrierForAll: Bool, isReported: Bool
  ) throws {
    // Where the kernel has no such barrier, sleepers look again after a millisecond.
    let shared = Shared(hasBarrierForAll: hasBarrierForAll, isReported: isReported)
    let threadCount = 3
    var threads: [pthread_t] = []
    for _ in 0..<threadCount {
      var thread = pthread_t()
      let status = unsafe pthread_create(
        &thread, nil,
        { argument in
          guard let argument = unsafe argument else { return nil }
          unsafe Unmanaged<Shared>.fromOpaque(argument).takeUnretainedValue().work()
          return nil
        }, Unmanaged.passUnretained(shared).toOpaque())
      try #require(status == 0)
      threads.append(thread)
    }
    for thread in threads { pthread_join(thread, nil) }
    #expect(shared.count.load(ordering: .relaxed) == threadCount * Shared.times)
  }
}
