import GenPool
import Glibc
import Synchronization

/// Threads that share one pool and mark every granule they get in a board of their own: a granule
/// that already bears a mark was handed out twice.
package final class Stress: Sendable {
  private static let granule = GranuleSize(order: 12)
  private static let granulesInChunk = 4096
  private static let chunkCount = 4
  /// Places for chunks that come and go meanwhile, behind the others.
  private static let guestCount = 3
  private static let firstChunk = VirtualAddress(0x1000_0000)

  private let threads: Int
  private let operations: Int
  private let seed: UInt64
  private let pool = Pool(granule: Stress.granule)
  private let board: Board
  private let violations = Atomic<Int>(0)
  /// Threads at work.
  private let running = Atomic<Int>(0)
  private let reports = Mutex<[String]>([])

  package init(threads: Int, operations: Int, seed: UInt64) {
    self.threads = threads
    self.operations = operations
    self.seed = seed
    board = Board(count: Self.granulesInChunk * (Self.chunkCount + Self.guestCount))
  }

  /// Runs all threads to the end; what went wrong.
  package func run() -> [String] {
    addChunk(0)
    var handles: [pthread_t] = []
    for index in 0..<threads {
      var handle = pthread_t()
      let worker = Worker(stress: self, index: index)
      let status = unsafe pthread_create(
        &handle, nil,
        { argument in
          guard let argument = unsafe argument else { return nil }
          unsafe Unmanaged<Worker>.fromOpaque(argument).takeRetainedValue().run()
          return nil
        }, Unmanaged.passRetained(worker).toOpaque())
      guard status == 0 else {
        report("cannot start thread \(index): error \(status)")
        break
      }
      handles.append(handle)
      running.add(1, ordering: .relaxed)
    }
    // The list grows while others walk it.
    for index in 1..<Self.chunkCount {
      usleep(20_000)
      addChunk(index)
    }
    haveGuests()
    for handle in handles { pthread_join(handle, nil) }
    if pool.statistics.cached != .zero { report("ended caches hold \(pool.statistics.cached)") }
    if pool.available != pool.size { report("\(pool.available) of \(pool.size) came back") }
    pool.checkInvariants()
    return reports.withLock { $0 }
  }

  /// Chunks come, are allocated from, and go as soon as all is free, while the threads work.
  private func haveGuests() {
    var turn = 0
    while running.load(ordering: .relaxed) > 0 {
      let index = Self.chunkCount + turn % Self.guestCount
      turn += 1
      addChunk(index)
      usleep(300)
      let start = Self.firstChunk + Self.granule.byteCount * UInt64(Self.granulesInChunk * index)
      do {
        try pool.drain(chunkAt: start)
        while true {
          do {
            try pool.remove(chunkAt: start)
            break
          } catch .outstanding {
            usleep(100)
          }
        }
      } catch {
        return report("the chunk at \(start) does not go: \(error)")
      }
    }
  }

  private func addChunk(_ index: Int) {
    let size = Self.granule.byteCount * UInt64(Self.granulesInChunk)
    do {
      try pool.add(
        start: Self.firstChunk + size * UInt64(index), size: size,
        physical: PhysicalAddress(0x80_0000_0000) + size * UInt64(index),
        owner: Owner(UInt(index + 1)))
    } catch {
      report("chunk \(index): \(error)")
    }
  }

  private func report(_ text: String) {
    reports.withLock { $0.append(text) }
  }

  /// One thread's work.
  private final class Worker {
    private let stress: Stress
    private let mark: UInt32
    private var random: SplitMix64
    private var held: [(start: VirtualAddress, size: ByteCount)] = []
    /// Not before half time: the first fit alone has shorter ways than a pool that knows others.
    private var usesAllFits = false
    /// Of every other thread.
    private var cache: Pool.AnyPlaceCache?

    init(stress: Stress, index: Int) {
      self.stress = stress
      mark = UInt32(index + 1)
      random = SplitMix64(seed: stress.seed &* 0x9e37_79b9 &+ UInt64(index))
    }

    func run() {
      do {
        if mark % 2 == 0 { cache = try stress.pool.cache(limit: .kibibytes(512)) }
        if cache?.limit == .zero { stress.report("a cache holds nothing") }
      } catch {
        stress.report("no cache: \(error)")
      }
      for operation in 0..<stress.operations {
        usesAllFits = operation >= stress.operations / 2
        switch random.next(below: 10) {
        case 0..<4: allocate()
        case 8: allocateBatch()
        case 9: freeBatch()
        case 4..<6: free(partly: false)
        case 6: free(partly: true)
        default: query()
        }
        if held.count > 400 { free(partly: false) }
      }
      while !held.isEmpty { free(partly: false) }
      if let cache { cache.checkInvariants() }
      cache = nil
      stress.running.subtract(1, ordering: .relaxed)
    }

    private func allocate() {
      let size = ByteCount(1 + random.next(below: 16 << 12))
      let fit: Fit? =
        switch usesAllFits ? random.next(below: 7) : 6 {
        case 0: .firstAligned(ByteCount(4096 << random.next(below: 6)))
        case 1: .orderAligned
        case 2: .best
        case 3: .fixed(offset: ByteCount(4096 * random.next(below: UInt64(granulesInChunk))))
        case 4: .custom(Self.lowestInUpperHalf)
        default: nil
        }
      let got =
        if fit == nil, let cache {
          try? cache.allocate(size)
        } else {
          try? stress.pool.allocate(size, fit: fit)
        }
      guard let got else { return }
      mark(got.start, size, from: 0, to: mark)
      held.append((got.start, size))
    }

    /// A batch is as many allocations, of which each is freed by itself or in another batch.
    private func allocateBatch() {
      let size = ByteCount(1 + random.next(below: 4 << 12))
      let fit: Fit? =
        switch usesAllFits ? random.next(below: 4) : 3 {
        case 0: .firstAligned(8192)
        case 1: .best
        case 2: .custom(Self.lowestInUpperHalf)
        default: nil
        }
      let count = Int(random.next(below: 32))
      guard let got = try? stress.pool.allocate(count: count, of: size, fit: fit) else { return }
      if got.count != count { stress.report("\(got.count) allocations in a batch of \(count)") }
      for allocation in got {
        mark(allocation.start, allocation.size, from: 0, to: mark)
        held.append((allocation.start, allocation.size))
      }
    }

    /// Frees some of what is held, in any order, and before that once more than there is of it.
    private func freeBatch() {
      let batch = held.suffix(Int(random.next(below: 32))).map {
        Allocation(start: $0.start, size: $0.size, owner: nil)
      }
      if let last = batch.last, (try? stress.pool.free(contentsOf: batch + [last])) != nil {
        stress.report("\(last) was freed twice in a batch")
      }
      held.removeLast(batch.count)
      for allocation in batch { mark(allocation.start, allocation.size, from: mark, to: 0) }
      do {
        try stress.pool.free(contentsOf: batch)
      } catch {
        stress.report("free a batch of \(batch.count): \(error)")
      }
    }

    /// An own algorithm beside the index: a look at 64 granules.
    private static let lowestInUpperHalf: Fit.Algorithm = { map, request in
      let half = map.wordCount / 2
      guard request.count.rawValue <= 64, map.word(half) == 0 else { return nil }
      return GranuleIndex(half * 64)
    }

    private func free(partly: Bool) {
      guard !held.isEmpty else { return }
      let index = Int(random.next(below: UInt64(held.count)))
      held.swapAt(index, held.count - 1)
      guard var (start, size) = held.popLast() else { return }
      let granule = Stress.granule.byteCount
      if partly, size > granule {
        // The first granule stays; the rest goes.
        held.append((start, granule))
        start = start + granule
        size -= granule
      }
      mark(start, size, from: mark, to: 0)
      do {
        if let cache, random.next(below: 4) > 0 {
          try cache.free(start, size: size)
        } else {
          try stress.pool.free(start, size: size)
        }
      } catch {
        stress.report("free \(start) \(size): \(error)")
      }
    }

    private func query() {
      if random.next(below: 64) == 0 {
        _ = stress.pool.statistics
        do {
          try cache?.flush()
        } catch {
          stress.report("flush: \(error)")
        }
      }
      _ = stress.pool.available
      if random.next(below: 64) == 0 { _ = stress.pool.largestFreeRun }
      guard let (start, size) = held.last else { return }
      if !stress.pool.contains(start, size: size) { stress.report("\(start) is not contained") }
      if stress.pool.physicalAddress(of: start) == nil { stress.report("\(start) has no address") }
    }

    /// Every granule of the range changes its mark, or was somebody else's.
    private func mark(_ start: VirtualAddress, _ size: ByteCount, from: UInt32, to: UInt32) {
      let first = Int((start - Stress.firstChunk).rawValue >> 12)
      let count = Int((size.rawValue + 4095) >> 12)
      for index in first..<(first + count) {
        let found = stress.board.exchange(index, to)
        if found != from { stress.report("granule \(index) bore mark \(found), not \(from)") }
      }
    }
  }
}

/// A mark a granule, changed by atomic exchange.
@safe
private final class Board: @unchecked Sendable {
  // SAFETY: allocated in init, freed in deinit, indexed within count.
  private let marks: UnsafeMutablePointer<Atomic<UInt32>>
  private let count: Int

  init(count: Int) {
    self.count = count
    unsafe marks = .allocate(capacity: count)
    for index in 0..<count { unsafe (marks + index).initialize(to: Atomic(0)) }
  }

  deinit {
    unsafe marks.deinitialize(count: count)
    unsafe marks.deallocate()
  }

  func exchange(_ index: Int, _ mark: UInt32) -> UInt32 {
    precondition((0..<count).contains(index), "a granule outside the board")
    // Relaxed: the pool's lock alone must order what two owners do.
    return unsafe marks[index].exchange(mark, ordering: .relaxed)
  }
}
