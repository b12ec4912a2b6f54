import ArgumentParser

/// `genpoolctl lease …`
struct LeaseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lease",
    abstract: "Leases device memory, and shows who has how much.",
    subcommands: [LeaseAcquire.self, LeaseRelease.self, LeaseList.self, LeaseHolders.self])
}
