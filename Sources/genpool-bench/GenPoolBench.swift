import ArgumentParser

/// Measures and checks the allocator: each verb in a folder of its own.
@main
struct GenPoolBench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "genpool-bench",
    abstract: "Checks the genpool allocator against recorded and made-up work.",
    subcommands: [ReplayCommand.self, StressCommand.self])
}
