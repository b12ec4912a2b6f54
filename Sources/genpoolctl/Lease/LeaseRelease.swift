import ArgumentParser
import BrokerProtocol
import GenPoolClient

/// `genpoolctl lease release LEASE`
struct LeaseRelease: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "release",
    abstract: "Takes a lease back from its holder, by force.",
    discussion: """
      For root and the group genpool-admin, by the admin socket. The lease is revoked, and who watches \
      `genpoolctl monitor` is told. That takes no memory away from the holder: its mapping stays, so \
      the memory is leased to nobody else until the holder has released the lease or its process has \
      ended. `genpoolctl lease list` shows the process; killing it is up to you.

      A lease of one's own ends with the process that acquired it; nothing has to be forced.
      """)

  @Argument(
    help: "The lease, as lease list shows it: its first digits, 4 at least.",
    transform: LeasePrefix.parse)
  var lease: LeasePrefix

  @OptionGroup var broker: BrokerOptions
  @OptionGroup var output: OutputOptions

  func run() throws {
    let connection = try broker.connectAsAdmin()
    let lease = try connection.forceRelease(lease.lease(over: connection))
    try output.write(
      lease,
      text: """
        Lease \(lease.lease) is revoked. Its memory (\(lease.size) of pool \(lease.pool)) stays out of \
        use until process \(lease.pid) of uid \(lease.uid) releases it or ends.

        """)
  }
}
