import ArgumentParser
import Reference

/// `genpool-bench stress`: many threads on one pool, every granule handed out to one of them only.
struct StressCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stress",
    abstract: "Hammers one pool from several threads and looks for granules handed out twice.",
    discussion: """
      Each thread allocates with every fit and an own one, frees whole and in parts, queries, and meanwhile chunks \
      are added. The last line is "N operations, M violations"; exit status 0 only if M is 0.
      """)

  @Option(help: "Threads.")
  var threads = 4

  @Option(help: "Operations of each thread.")
  var operations = 200_000

  @Option(help: "Seed of the random choices.")
  var seed: UInt64 = 1

  func validate() throws {
    guard (1...256).contains(threads) else { throw ValidationError("--threads is 1 to 256") }
    guard operations > 0 else { throw ValidationError("--operations is at least 1") }
  }

  func run() throws {
    let stress = Stress(threads: threads, operations: operations, seed: seed)
    let violations = stress.run()
    for violation in violations.prefix(10) { print(violation) }
    print("\(threads * operations) operations, \(violations.count) violations")
    if !violations.isEmpty { throw ExitCode(1) }
  }
}
