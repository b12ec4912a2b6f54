import ArgumentParser
import BrokerProtocol
import DeviceMemory
import GenPoolClient

/// `genpoolctl pool detach NAME`
struct PoolDetach: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "detach",
    abstract: "Ends a pool and gives its BAR back.",
    usage: "genpoolctl pool detach <name> [<options>]",
    discussion: """
      For root and the group genpool-admin, by the admin socket. A pool that has leases, or whose memory a living \
      process still reaches, is busy (exit status 75): `genpoolctl lease list --pool NAME` shows \
      whose leases they are. A pool that is waiting for its memory is given up.

      Where the kernel cannot tell whether a process still maps the memory, and every process that it was \
      lent to has died, it is detached with a warning: the next user could share it with what is left.
      """)

  @Argument(help: "The pool's name, as pool list shows it, or the start of it.")
  var name: String

  @OptionGroup var broker: BrokerOptions
  @OptionGroup var output: OutputOptions

  func run() throws {
    let connection = try broker.connectAsAdmin()
    let (name, reply) = try connection.withPool(name) { name throws(ClientError) in
      (name, try connection.detach(pool: name))
    }
    if let user = reply.unseenUid {
      let check =
        reply.witness == Witness.reopening.rawValue
        ? "attached again through VFIO it stays with that uid unless the kernel sees that none is left"
        : "make sure that none is left (fuser, lsof) before you attach it for another user"
      StandardError.write(
        "warning: it cannot be seen whether processes of uid \(user) still map memory of \(name); "
          + "\(check)\n")
    }
    try output.write(
      Detached(detached: name, unseenUid: reply.unseenUid, witness: reply.witness),
      text: "Pool \(name) is detached.\n")
  }

  private struct Detached: Encodable {
    let detached: String
    let unseenUid: UID?
    let witness: String?
  }
}
