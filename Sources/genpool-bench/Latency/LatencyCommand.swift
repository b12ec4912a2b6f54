import ArgumentParser
import GenPool
import Glibc

/// `genpool-bench latency`: the worst that a search can take.
struct LatencyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "latency",
    abstract: "Times single allocations in the states that are hardest to search.",
    discussion: """
      Each state is made on a pool of its own; the figure is the least of 7 repeats, because the rest \
      is what else the machine does. Searches that fail are timed up to their error. The states: \
      \(HardState.names).

      With --first-use, the first \(Self.firstCalls) allocations by a fit that was never asked for before, \
      in the same states: while what the fit needs is built. Each counts with the least of its times \
      in all repeats.

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
  @Flag(help: "The first allocations by a fit, in the hard states.")
  var firstUse = false
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
  /// More than it takes until all is built.
  private static let firstCalls = 300
  private static let defaultAllocations = 1_000_000
  private static let defaultShape = PoolShape.all[1]

  func validate() throws {
    let ofStates = [
      ("--granules", granules != nil), ("--state", state != nil), ("--first-use", firstUse),
    ]
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
    if firstUse { return try runFirstUses() }
    let machine = Machine()
    let granules = granules ?? Self.defaultGranules
    var rows: [Row] = []
    if !json {
      show("\(machine); \(granules) granules, the least of \(repeats) repeats\n")
      show(line("state", "fit", "request", "ns", "answer"))
    }
    for state in HardState.all where self.state == nil || state.name == self.state {
      for fit in MeasuredFit.allCases where self.fit == nil || fit == self.fit {
        let (ns, isFound) = try measure(state, fit, granules)
        let row = Row(
          state: state.name, fit: fit.rawValue, granules: granules, request: state.count, ns: ns,
          found: isFound)
        if json {
          rows.append(row)
        } else {
          show(
            line(
              row.state, row.fit, String(row.request), String(row.ns), row.found ? "found" : "none")
          )
        }
      }
    }
    if json { print(try rows.map { DatedRow($0, on: machine) }.jsonRows) }
  }

  /// Prints a line at once, into a pipe too: a row can take long.
  private func show(_ line: String) {
    print(line)
    fflush(nil)
  }

  private func runFirstUses() throws {
    let machine = Machine()
    let granules = granules ?? Self.defaultGranules
    var rows: [FirstUseRow] = []
    if !json {
      show(
        "\(machine); \(granules) granules, \(repeats) repeats of \(Self.firstCalls) calls, ns\n")
      show(line("state", "fit", "request", "first", "worst", "last"))
    }
    for state in HardState.all where self.state == nil || state.name == self.state {
      for fit in MeasuredFit.allCases where self.fit == nil || fit == self.fit {
        var least = [UInt64](repeating: .max, count: Self.firstCalls)
        for _ in 0..<repeats {
          let subject = try subject(state, fit, granules)
          for call in 0..<Self.firstCalls {
            least[call] = min(least[call], time(subject, state, granules).ns)
          }
        }
        let row = FirstUseRow(
          state: state.name, fit: fit.rawValue, granules: granules, request: state.count,
          first: least[0], worst: least.max() ?? 0, last: least[least.count - 1])
        if json {
          rows.append(row)
        } else {
          show(
            line(
              row.state, row.fit, String(row.request), String(row.first), String(row.worst),
              String(row.last)))
        }
      }
    }
    if json { print(try rows.map { DatedRow($0, on: machine) }.jsonRows) }
  }

  /// A pool in a hard state, of which nothing but the first fit was asked yet.
  private func subject(
    _ state: HardState, _ fit: MeasuredFit, _ granules: Int
  ) throws -> GenPoolSubject {
    let shape = PoolShape(name: state.name, chunks: 1, granules: granules, granuleOrder: 6)
    let subject = try GenPoolSubject(shape, fit)
    // An error's type is looked up once in a process.
    _ = try? subject.allocate(granules + 1, .first)
    try state.prepare(subject, granules: granules)
    return subject
  }

  /// Times an allocation, and frees it: how long it took, and whether it found a place.
  private func time(
    _ subject: GenPoolSubject, _ state: HardState, _ granules: Int
  ) -> (ns: UInt64, isFound: Bool) {
    let start = nanoseconds()
    let handle = measuredAllocation(subject, state.count, at: UInt64(granules / 2))
    let ns = nanoseconds() - start
    if let handle { subject.free(handle, state.count) }
    return (ns, handle != nil)
  }

  private func runLives() throws {
    let shape = PoolShape.all.first { $0.name == pool } ?? Self.defaultShape
    let allocations = allocations ?? Self.defaultAllocations
    let machine = Machine()
    var rows: [LifeRow] = []
    if !json {
      show("\(machine); nanoseconds, \(repeats) lives of \(allocations) allocations\n")
      show(line("case", "fit", "%", "p50", "p99", "p99.9", "worst"))
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
          show(
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
    let subject = try subject(state, fit, granules)
    // The first calls by a fit build what it needs. They are not counted.
    for _ in 0..<Self.firstCalls {
      let handle = subject.allocate(state.count, at: UInt64(granules / 2))
      if let handle { subject.free(handle, state.count) }
    }
    var least = UInt64.max
    var isFound = false
    for _ in 0..<repeats {
      let call = time(subject, state, granules)
      least = min(least, call.ns)
      isFound = call.isFound
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

/// The first allocations by a fit in one hard state, in nanoseconds.
private struct FirstUseRow: Encodable {
  let state: String
  let fit: String
  let granules: Int
  /// In granules.
  let request: Int
  let first: UInt64
  let worst: UInt64
  let last: UInt64

  private enum CodingKeys: String, CodingKey {
    case state, fit, granules, request
    case first = "first_ns"
    case worst = "worst_ns"
    case last = "last_ns"
  }
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
