import ArgumentParser
import GenPool

/// `genpool-bench latency`: the worst that a search can take.
struct LatencyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "latency",
    abstract: "Times single allocations in the states that are hardest to search.",
    discussion: """
      Each state is made on a pool of its own; the figure is the least of 7 repeats, because the rest \
      is what else the machine does. Searches that fail are timed up to their error. The states: \
      \(HardState.names).

      With --lives, the allocations of the work of "compare" instead: the same life is lived as often \
      as --repeats says, and each allocation counts with the least of its times.

      One state and fit under valgrind --tool=callgrind --toggle-collect='*measuredAllocation*' gives \
      the instructions of all repeats.
      """)

  @Option(help: "Granules in the pool of the hard states (default: \(Self.defaultGranules)).")
  var granules: Int?
  @Option(help: "Only this hard state.")
  var state: String?
  @Option(help: "Only this fit.")
  var fit: MeasuredFit?
  @Option(help: "Repeats.")
  var repeats = 7
  @Flag(help: "Allocations of a life, not of the hard states.")
  var lives = false
  @Option(
    name: .customLong("case"), help: "The pool of the lives (default: \(Self.defaultShape.name)).")
  var pool: String?
  @Option(help: "Allocations of each life (default: \(Self.defaultAllocations)).")
  var allocations: Int?
  @Flag(help: "Print a JSON array, an object for each row.")
  var json = false

  private static let defaultGranules = 16 << 20
  private static let defaultAllocations = 1_000_000
  private static let defaultShape = PoolShape.all[1]

  func validate() throws {
    let ofStates = [("--granules", granules != nil), ("--state", state != nil)]
    let ofLives = [("--case", pool != nil), ("--allocations", allocations != nil)]
    for (option, isGiven) in lives ? ofStates : ofLives where isGiven {
      throw ValidationError(
        lives
          ? "\(option) is of the hard states, which --lives leaves out: lives have --case and --allocations"
          : "\(option) is of lives: add --lives; the hard states have --granules and --state")
    }
    guard granules ?? 4096 >= 4096 else { throw ValidationError("--granules is at least 4096") }
    guard allocations ?? 1 > 0 else { throw ValidationError("--allocations is at least 1") }
    if let pool {
      guard let shape = PoolShape.all.first(where: { $0.name == pool }) else {
        let names = PoolShape.all.map(\.name).joined(separator: ", ")
        throw ValidationError("no case \(pool): there are \(names)")
      }
      if let fit, !shape.has(fit) { throw ValidationError("\(pool) has no \(fit.rawValue) fit") }
    }
    guard repeats > 0 else { throw ValidationError("--repeats is at least 1") }
    if let state, !HardState.all.contains(where: { $0.name == state }) {
      throw ValidationError("no state \(state): there are \(HardState.names)")
    }
  }

  func run() throws {
    if lives { return try runLives() }
    let machine = Machine()
    let granules = granules ?? Self.defaultGranules
    var rows: [Row] = []
    for state in HardState.all where self.state == nil || state.name == self.state {
      for fit in MeasuredFit.allCases where self.fit == nil || fit == self.fit {
        let (ns, isFound) = try measure(state, fit, granules)
        rows.append(
          Row(
            state: state.name, fit: fit.rawValue, granules: granules, request: state.count, ns: ns,
            found: isFound))
      }
    }
    if json {
      print(try rows.map { DatedRow($0, on: machine) }.jsonRows)
    } else {
      print("\(machine); \(granules) granules, the least of \(repeats) repeats\n")
      print(line("state", "fit", "request", "ns", "answer"))
      for row in rows {
        print(
          line(
            row.state, row.fit, String(row.request), String(row.ns), row.found ? "found" : "none"))
      }
    }
  }

  private func runLives() throws {
    let shape = PoolShape.all.first { $0.name == pool } ?? Self.defaultShape
    let allocations = allocations ?? Self.defaultAllocations
    let machine = Machine()
    var rows: [LifeRow] = []
    if !json {
      print("\(machine); nanoseconds, \(repeats) lives of \(allocations) allocations\n")
      print(line("case", "fit", "%", "p50", "p99", "p99.9", "worst"))
    }
    for fit in MeasuredFit.allCases where (self.fit == nil || fit == self.fit) && shape.has(fit) {
      for occupancy in [50, 90, 99] {
        let life = try Life(
          shape, fit, occupancy: occupancy, allocations: allocations, repeats: repeats)
        func quantile(_ share: Double) -> Int { Int(life.latencies.quantile(share)) }
        let row = LifeRow(
          case: life.shape.name, fit: fit.rawValue, occupancy: occupancy, allocations: allocations,
          p50: quantile(0.5), p99: quantile(0.99), p999: quantile(0.999), worst: quantile(1))
        if json {
          rows.append(row)
        } else {
          print(
            line(
              row.case, row.fit, String(occupancy), String(row.p50), String(row.p99),
              String(row.p999), String(row.worst)))
        }
      }
    }
    if json { print(try rows.map { DatedRow($0, on: machine) }.jsonRows) }
  }

  /// The least time of an allocation, and whether it found a place.
  private func measure(
    _ state: HardState, _ fit: MeasuredFit, _ granules: Int
  ) throws -> (UInt64, Bool) {
    let shape = PoolShape(name: state.name, chunks: 1, granules: granules, granuleOrder: 6)
    let subject = try GenPoolSubject(shape, fit)
    // What a fit needs is built when it is first asked for.
    if let first = subject.allocate(state.count, at: 0) { subject.free(first, state.count) }
    // An error's type is looked up once in a process.
    _ = subject.allocate(granules + 1, at: 0)
    try state.prepare(subject, granules: granules)
    var least = UInt64.max
    var isFound = false
    for _ in 0..<repeats {
      let start = nanoseconds()
      let handle = measuredAllocation(subject, state.count, at: UInt64(granules / 2))
      least = min(least, nanoseconds() - start)
      isFound = handle != nil
      if let handle { subject.free(handle, state.count) }
    }
    return (least, isFound)
  }

  /// A function of its own, so that callgrind finds it.
  @inline(never)
  private func measuredAllocation(
    _ subject: GenPoolSubject, _ count: Int, at place: UInt64
  ) -> UInt64? {
    subject.allocate(count, at: place)
  }

  private func line(_ cells: String...) -> String {
    zip(cells, [22, 14, 9, 9, 8, 9, 9]).enumerated().map { column, cell in
      let space = String(repeating: " ", count: max(1, cell.1 - cell.0.count))
      return column < 2 ? cell.0 + space : space + cell.0
    }.joined()
  }
}

/// The result of one hard state with one fit.
private struct Row: Encodable {
  let state: String
  let fit: String
  let granules: Int
  /// In granules.
  let request: Int
  let ns: UInt64
  let found: Bool
}

/// The result of one life, in nanoseconds.
private struct LifeRow: Encodable {
  let `case`: String
  let fit: String
  /// Percent of the granules.
  let occupancy: Int
  let allocations: Int
  let p50: Int
  let p99: Int
  let p999: Int
  let worst: Int

  private enum CodingKeys: String, CodingKey {
    case `case`, fit, occupancy, allocations
    case p50 = "p50_ns"
    case p99 = "p99_ns"
    case p999 = "p999_ns"
    case worst = "worst_ns"
  }
}
