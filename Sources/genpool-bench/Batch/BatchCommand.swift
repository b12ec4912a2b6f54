import ArgumentParser
import GenPool

/// `genpool-bench batch`: many buffers by one call, against as many calls.
struct BatchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "batch",
    abstract: "Times a batch of buffers against as many single calls, in Swift and in C.",
    discussion: """
      64MiB@4KiB, first fit, in a pool that is empty and in one that is 90 percent full after the work of \
      "compare". One pool does both, in turns: a batch is allocated and freed, then as many single calls \
      find the same places and free them, in the same order. Figures are medians of all turns, in \
      nanoseconds for all buffers together, the clock's own time taken off. Single calls write what they \
      get into an array that is there; a batch makes its own in Swift. The exit status is 1 if any batch \
      costs more than --limit of the single calls.
      """)

  @Option(help: "Buffers in a batch.")
  var count = 64
  @Option(help: ArgumentHelp("Sizes of a buffer, in granules of 4 KiB.", valueName: "granules"))
  var sizes = [1, 4]
  @Option(help: "Turns of each.")
  var turns = 20_000
  @Option(help: ArgumentHelp("The library.", valueName: "path"))
  var library = ".build/release/libgenpool.so"
  @Option(help: "What a batch may cost, as a share of the single calls.")
  var limit = 0.25

  func validate() throws {
    guard (1...1024).contains(count), turns > 0, sizes.allSatisfy({ (1...64).contains($0) }) else {
      throw ValidationError("--count is 1 to 1024, --turns at least 1, --sizes 1 to 64")
    }
  }

  func run() throws {
    print("\(Machine()); 64MiB@4KiB, medians of \(turns) turns\n")
    print("ns for \(count) buffers          batch    calls    ratio")
    var worst = 0.0
    for occupancy in [0, 90] {
      for size in sizes {
        for language in Language.allCases {
          let turn: any BatchTurn =
            switch language {
            case .swift: try SwiftBatches(occupancy: occupancy, count: count, size: size)
            case .c:
              try LibraryBatches(library, occupancy: occupancy, count: count, size: size)
            }
          let times = BatchTimes(turn, turns: turns)
          for (verb, batch, singles) in times.rows {
            let ratio = batch / singles
            worst = max(worst, ratio)
            let state = occupancy == 0 ? "empty" : "\(occupancy) %"
            let name = "\(state), \(size * 4) KiB, \(language.rawValue) \(verb)"
            print(
              name + String(repeating: " ", count: max(1, 25 - name.count))
                + column(batch.rounded()) + column(singles.rounded()) + column(hundredths(ratio)))
          }
        }
      }
    }
    guard worst <= limit else {
      print("\na batch costs \(hundredths(worst)) of the single calls, \(limit) is the limit")
      throw ExitCode(1)
    }
  }

  private func column(_ value: Double) -> String {
    let text = String(value)
    return String(repeating: " ", count: max(0, 9 - text.count)) + text
  }
}

/// The languages in which a batch is called.
private enum Language: String, CaseIterable {
  case swift = "Swift"
  case c = "C"
}

/// A pool that allocates and frees its buffers in two ways.
protocol BatchTurn: AnyObject {
  func allocateBatch()
  func freeBatch()
  func allocateSingles()
  func freeSingles()
}

/// The median times of a pool's two ways, in turns.
struct BatchTimes {
  let rows: [(verb: String, batch: Double, singles: Double)]

  init(_ turn: any BatchTurn, turns: Int) {
    var times = [[Double]](repeating: [], count: 5)
    func time(_ kind: Int, _ body: () -> Void) {
      let start = nanoseconds()
      body()
      times[kind].append(Double(nanoseconds() - start))
    }
    for _ in 0..<turns {
      time(0) { turn.allocateBatch() }
      time(1) { turn.freeBatch() }
      time(2) { turn.allocateSingles() }
      time(3) { turn.freeSingles() }
      time(4) {}
    }
    let clock = Sorted(times[4]).median
    let medians = times.map { Sorted($0).median - clock }
    rows = [("alloc", medians[0], medians[2]), ("free", medians[1], medians[3])]
  }
}

/// A pool's batches in Swift.
final class SwiftBatches: BatchTurn {
  private let pool: Pool
  private let count: Int
  private let size: ByteCount
  private var batch: [Allocation] = []
  private var singles: [Allocation] = []

  init(occupancy: Int, count: Int, size: Int) throws {
    let shape = PoolShape.all[0]
    let subject = try GenPoolSubject(shape, .first)
    if occupancy > 0 {
      let work = Work(subject, shape, occupancy: occupancy, isFixed: false, seed: 1)
      work.run(20 * work.liveCount)
    }
    pool = subject.pool
    self.count = count
    self.size = ByteCount(UInt64(size) << UInt64(shape.granuleOrder))
    singles.reserveCapacity(count)
  }

  @inline(never)
  func allocateBatch() {
    do {
      batch = try pool.allocate(count: count, of: size)
    } catch {
      preconditionFailure("the pool has room for a batch: \(error)")
    }
  }

  @inline(never)
  func freeBatch() {
    do {
      try pool.free(contentsOf: batch)
      batch = []
    } catch {
      preconditionFailure("what was allocated can be freed: \(error)")
    }
  }

  @inline(never)
  func allocateSingles() {
    do {
      for _ in 0..<count { singles.append(try pool.allocate(size)) }
    } catch {
      preconditionFailure("the pool has room for a batch: \(error)")
    }
  }

  @inline(never)
  func freeSingles() {
    do {
      for allocation in singles { try pool.free(allocation) }
      singles.removeAll(keepingCapacity: true)
    } catch {
      preconditionFailure("what was allocated can be freed: \(error)")
    }
  }
}

/// A pool's batches in C.
// SAFETY: `addresses` is owned from init to deinit and has room for `count`.
@safe
final class LibraryBatches: BatchTurn {
  private let library: LoadedLibrary
  private let count: Int
  private let size: Int
  private let addresses: UnsafeMutablePointer<UInt>

  init(_ path: String, occupancy: Int, count: Int, size: Int) throws {
    let shape = PoolShape.all[0]
    library = try LoadedLibrary(
      path: path, start: ABIComparison.start,
      size: ByteCount(UInt64(shape.total) << UInt64(shape.granuleOrder)))
    self.count = count
    self.size = size << shape.granuleOrder
    unsafe addresses = .allocate(capacity: count)
    if occupancy > 0 {
      let work = Work(
        LibrarySubject(library), shape, occupancy: occupancy, isFixed: false, seed: 1)
      work.run(20 * work.liveCount)
    }
  }

  deinit { unsafe addresses.deallocate() }

  @inline(never)
  func allocateBatch() {
    let isDone = unsafe library.allocateBatch(size, count, addresses)
    precondition(isDone, "the pool has room for a batch")
  }

  @inline(never)
  func freeBatch() {
    let isDone = unsafe library.freeBatch(size, count, addresses)
    precondition(isDone, "what was allocated can be freed")
  }

  @inline(never)
  func allocateSingles() {
    for number in 0..<count { unsafe addresses[number] = library.allocate(size) }
  }

  @inline(never)
  func freeSingles() {
    for number in 0..<count { library.free(unsafe addresses[number], size) }
  }
}

/// A pool of libgenpool for the work that ages it.
private final class LibrarySubject: Subject {
  private let library: LoadedLibrary

  init(_ library: LoadedLibrary) { self.library = library }

  func allocate(_ count: Int, at place: UInt64) -> UInt64? {
    let address = library.allocate(count << 12)
    return address == 0 ? nil : UInt64(address)
  }

  func free(_ handle: UInt64, _ count: Int) { library.free(UInt(handle), count << 12) }
}
