import ArgumentParser
import CBaselines
import Glibc

/// `genpool-bench threads`: several threads on one pool.
struct ThreadsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "threads",
    abstract: "Measures one and several threads on one pool: genpool, a linear scan, bins.",
    discussion: """
      64MiB@4KiB at 90 percent, first fit, the work of "compare", the allocations divided among the \
      threads. All take turns; figures are medians, in pairs of an allocation and a free that all \
      threads together do in a microsecond. The bins are under genpool's own kind of lock, and once \
      more under the C library's mutex.
      """)

  @Option(help: "Threads.")
  var threads = 2
  @Option(help: "Windows.")
  var windows = 9
  @Option(help: "Pairs of each thread in a window.")
  var pairs = 1_000_000
  @Flag(help: "Print one JSON object.")
  var json = false

  func validate() throws {
    guard (2...64).contains(threads) else { throw ValidationError("--threads is 2 to 64") }
    guard windows > 0, pairs > 0 else {
      throw ValidationError("--windows and --pairs are at least 1")
    }
  }

  func run() throws {
    let shape = PoolShape.all[0]
    guard let linear = LinearSubject(shape, .first), let bins = BinnedSubject(shape),
      let mutexed = BinnedSubject(shape, lock: BINNED_MUTEX)
    else { throw BenchError.noMemory }
    let crews: [(name: String, crew: any Crew)] = [
      ("genpool", Workers(try GenPoolSubject(shape, .first), shape, threads)),
      ("linear", Workers(linear, shape, threads)), ("bins", Workers(bins, shape, threads)),
      ("bins_mutex", Workers(mutexed, shape, threads)),
    ]
    var alone = [[Double]](repeating: [], count: crews.count)
    var together = alone
    for (_, crew) in crews { _ = crew.run(pairs / 10, threads: 1) }
    for _ in 0..<windows {
      for (number, (name, crew)) in crews.enumerated() {
        // The linear scan is slow enough for fewer pairs.
        let pairs = name == "linear" ? max(1, pairs / 20) : pairs
        alone[number].append(crew.run(pairs, threads: 1))
        together[number].append(crew.run(pairs, threads: threads))
      }
    }
    let rows = crews.indices.map {
      (crews[$0].name, Sorted(alone[$0]).median, Sorted(together[$0]).median)
    }
    func short(_ value: Double) -> String { String(hundredths(value)) }
    let machine = Machine()
    if json {
      let rates = rows.flatMap {
        [("\($0)_1", hundredths($1)), ("\($0)_\(threads)", hundredths($2))]
      }
      let row = Row(threads: threads, rates: Dictionary(uniqueKeysWithValues: rates))
      print(try DatedRow(row, on: machine).json)
    } else {
      print("\(machine); \(shape.name), 90 %, medians of \(windows) windows\n")
      print("pairs/us     1 thread   \(threads) threads")
      for (name, one, many) in rows {
        let name = name == "bins_mutex" ? "bins, mutex" : name
        print(
          name + String(repeating: " ", count: 13 - name.count) + short(one)
            + String(repeating: " ", count: max(1, 11 - short(one).count)) + short(many))
      }
    }
  }
}

/// The JSON object: a rate by `NAME_THREADS` for each pool, beside the terms.
private struct Row: Encodable {
  let threads: Int
  let rates: [String: Double]

  private enum CodingKeys: String, CodingKey {
    case threads, unit
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(threads, forKey: .threads)
    try container.encode("pairs/us", forKey: .unit)
    try rates.encode(to: encoder)
  }
}

/// Threads that share a pool.
private protocol Crew {
  /// Pairs a microsecond.
  func run(_ pairs: Int, threads: Int) -> Double
}

private final class Workers<Pool: Subject>: Crew {
  private let works: [Work<Pool>]

  init(_ pool: Pool, _ shape: PoolShape, _ threads: Int) {
    works = (0..<threads).map { number in
      Work(pool, shape, occupancy: 90, isFixed: false, seed: UInt64(number + 1), sharers: threads)
    }
    for work in works { work.run(20 * work.liveCount / threads) }
  }

  func run(_ pairs: Int, threads: Int) -> Double {
    let start = nanoseconds()
    var handles: [pthread_t] = []
    for work in works[..<threads].dropFirst() {
      var handle = pthread_t()
      let job = Job { work.run(pairs) }
      let status = unsafe pthread_create(
        &handle, nil,
        { argument in
          guard let argument = unsafe argument else { return nil }
          unsafe Unmanaged<Job>.fromOpaque(argument).takeRetainedValue().body()
          return nil
        }, Unmanaged.passRetained(job).toOpaque())
      precondition(status == 0, "a thread can be started")
      handles.append(handle)
    }
    works[0].run(pairs)
    for handle in handles { pthread_join(handle, nil) }
    return Double(pairs * threads) * 1000 / Double(nanoseconds() - start)
  }
}

/// What a thread does.
private final class Job {
  let body: () -> Void
  init(_ body: @escaping () -> Void) { self.body = body }
}
