import ArgumentParser
import BrokerProtocol
import GenPool
import GenPoolClient

/// `genpoolctl lease list`
struct LeaseList: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "Lists your leases; admins see those of all users.",
    usage: "genpoolctl lease list [<options>]",
    discussion: """
      An orphaned lease is one whose process has closed its connection and lives on: it may still \
      reach the memory. A reached lease has ended, but the kernel sees that a process, a child perhaps, still has a \
      descriptor or a mapping of it; its memory is zeroed when that is gone. A lease in quarantine has ended and is \
      being zeroed. A revoked one's device has gone, an admin \
      took it back, or a holder truncated its emulated BAR: its holder is to let go, and nobody else gets the memory before.

      A label is its holder's word for a lease (lease acquire --label), and identifies nothing.

      The table shows a lease's first eight digits and its offset in the pool; --json shows all.
      """)

  @Option(help: ArgumentHelp("Only this pool's leases.", valueName: "name"))
  var pool: String?

  @OptionGroup var broker: BrokerOptions
  @OptionGroup var output: OutputOptions

  func run() throws {
    let connection = try broker.connectToShow()
    let leases =
      try pool.map { text in
        try connection.withPool(text) { name throws(ClientError) in
          try connection.leases(of: name)
        }
      } ?? connection.leases()
    try output.write(Broker1.ListLeases.Reply(leases: leases), text: Self.table(of: leases))
  }

  static func table(of leases: [Broker1.Lease]) -> String {
    guard !leases.isEmpty else { return "There are no leases.\n" }
    var table = Table([
      .init("LEASE"), .init("POOL", flexible: true), .init("OFFSET", .right), .init("SIZE", .right),
      .init("UID", .right), .init("PID", .right), .init("STATE"), .init("LABEL", flexible: true),
    ])
    for lease in leases {
      table.add([
        String(lease.lease.rawValue.prefix(8)), lease.pool, lease.offset.hex,
        lease.size.description, lease.uid.description, lease.pid.description, lease.state.rawValue,
        lease.label ?? "",
      ])
    }
    return table.text
  }
}
