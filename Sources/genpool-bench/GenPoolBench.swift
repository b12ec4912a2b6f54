import ArgumentParser
import BrokerProtocol

/// Measures and checks the allocator: each verb in a folder of its own.
@main
struct GenPoolBench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "genpool-bench",
    abstract: "Checks and measures genpool: the allocator, and the broker.",
    version: "genpool-bench " + Release.version,
    subcommands: [
      CompareCommand.self, LatencyCommand.self, ThreadsCommand.self, CacheCommand.self,
      BatchCommand.self, MemoryCommand.self, VerifyCommand.self, ReplayCommand.self,
      ABICommand.self, StressCommand.self,
      LeaseCommand.self, WitnessCommand.self,
    ])
}
