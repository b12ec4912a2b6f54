import ArgumentParser

/// `genpoolctl pool …`
struct PoolCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pool",
    abstract: "Shows the daemon's pools, makes and ends them.",
    subcommands: [PoolList.self, PoolShow.self, PoolAttach.self, PoolDrain.self, PoolDetach.self])
}
