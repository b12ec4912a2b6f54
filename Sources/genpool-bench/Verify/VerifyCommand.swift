import ArgumentParser

/// `genpool-bench verify`: random lives of pools against `ReferenceModel`.
struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Compares placements with a naive model's over random lives of many pools.",
    discussion: """
      Pools of 1 to 100,000 granules, all fits and an own one, partial frees; the index is checked \
      whole every now and then, in debug builds after every change of a small pool. The last line is "N operations in M pools, all placements equal"; exit status 1 and \
      the first difference otherwise.
      """)

  @Option(help: "Operations in all.")
  var operations = 10_000_000

  @Option(help: "Seed of the random choices.")
  var seed: UInt64 = 1

  func validate() throws {
    guard operations > 0 else { throw ValidationError("--operations is at least 1") }
  }

  func run() throws {
    var verification = Verification(seed: seed)
    verification.run(operations)
    if let failure = verification.failure {
      print(failure)
      throw ExitCode(1)
    }
    print(
      "\(verification.operations) operations in \(verification.pools) pools, all placements equal")
  }
}
