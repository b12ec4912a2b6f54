import ArgumentParser
import BrokerProtocol
import GenPoolClient

/// `genpoolctl pool detach NAME`
struct PoolDetach: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "detach",
    abstract: "Ends a pool and gives its BAR back.",
    usage: "genpoolctl pool detach <name> [<options>]",
    discussion: """
      For root, or whom genpoold takes for an admin. A pool that has leases, or whose memory a living \
      process still reaches, is busy (exit status 75): `genpoolctl lease list --pool NAME` shows \
      whose leases they are.
      """)

  @Argument(help: "The pool's name, as pool list shows it.")
  var name: String

  @OptionGroup var broker: BrokerOptions
  @OptionGroup var output: OutputOptions

  func run() throws {
    try broker.connect().detach(pool: name)
    try output.write(Detached(detached: name), text: "Pool \(name) is detached.\n")
  }

  private struct Detached: Encodable {
    let detached: String
  }
}
