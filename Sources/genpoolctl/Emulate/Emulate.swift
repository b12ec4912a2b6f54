import ArgumentParser

/// `genpoolctl emulate …`
struct Emulate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "emulate",
    abstract: "Makes devices out of files, for running genpool without hardware.",
    discussion: """
      Without a subcommand it creates, so `genpoolctl emulate DIR --device DEVICE` is enough.
      """,
    subcommands: [EmulateCreate.self, EmulateAdd.self, EmulateRemove.self],
    defaultSubcommand: EmulateCreate.self)
}
