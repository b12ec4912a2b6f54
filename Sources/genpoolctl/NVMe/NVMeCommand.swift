import ArgumentParser

/// `genpoolctl nvme …`
struct NVMeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "nvme",
    abstract: "Explains NVMe controllers and the memory that they have of their own.",
    subcommands: [NVMeShow.self])
}
