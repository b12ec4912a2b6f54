import ArgumentParser
import GenPool

/// `genpool-bench abi`: what C pays for libgenpool, against Swift.
struct ABICommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "abi",
    abstract: "Times an allocation and its free through libgenpool against the Swift call.",
    discussion: """
      Both do the same on pools that are alike, in turns of a few microseconds, so that what disturbs the \
      machine disturbs both; medians of all turns, in nanoseconds. The exit status is 1 if C takes more \
      than --limit longer for a page. The time to load the library is that of the first dlopen() of \
      this process.
      """)

  @Option(help: ArgumentHelp("The library.", valueName: "path"))
  var library = ".build/release/libgenpool.so"

  @Option(help: "Turns of each.")
  var turns = 20_000

  @Option(help: "What C may take longer, in nanoseconds.")
  var limit = 5.0

  func validate() throws {
    guard turns > 0 else { throw ValidationError("--turns is at least 1") }
  }

  func run() throws {
    let (start, size) = (ABIComparison.start, ABIComparison.size)
    let loaded = try LoadedLibrary(path: library, start: start, size: size)
    let pool = Pool(granule: .page)
    try pool.add(
      start: VirtualAddress(start), size: size, physical: PhysicalAddress(start))
    let cache = try pool.cache()
    print("library: \(loaded.size), loaded in \(rounded(loaded.loading / .microseconds(1))) us")
    print("alloc+free, ns     Swift      C   difference")
    var difference = 0.0
    for workload in ABIComparison.Workload.allCases {
      let comparison = ABIComparison(workload, pool, cache, loaded, turns: turns)
      if workload == .page { difference = comparison.difference }
      let name =
        workload.rawValue + String(repeating: " ", count: 16 - workload.rawValue.count)
      print(
        name, column(comparison.swift), column(comparison.c), column(comparison.difference),
        separator: " ")
    }
    guard difference <= limit else {
      print("C takes \(rounded(difference)) ns longer, \(limit) are allowed")
      throw ExitCode(1)
    }
  }

  private func rounded(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }

  private func column(_ value: Double) -> String {
    let text = rounded(value)
    return String(repeating: " ", count: max(0, 8 - text.count)) + text
  }
}
