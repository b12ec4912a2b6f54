import ArgumentParser
import BrokerProtocol
import GenPoolClient

/// `genpoolctl pool attach SPEC`
struct PoolAttach: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "attach",
    abstract: "Makes a pool of a BAR or a part of it. ERASES what is in it.",
    usage: "genpoolctl pool attach <spec> [<options>]",
    discussion: """
      For root and the group genpool-admin, by the admin socket. The device must keep the attach rules: \
      `genpoolctl device show` says which it breaks, and what helps.

      SPEC is BDF:BAR[,offset=N][,size=N][,granule=N][,name=S][,source=S]
      [,allow=RULE[+RULE...]][,erase=yes][,access=user:NAME[+group:NAME...]]. Without offset and size it is the whole BAR; a granule is a power of two, \
      at least a page; without a name it is called BDF/BAR; allow names rules that need not hold this \
      once; a BAR has one pool only; the source is sysfs, or vfio for a device that is bound to vfio-pci \
      (`genpoolctl device bind`); access names the users and groups, by name or number, that alone may lease of it, \
      beside root and admins (default: every client).

      In the BAR's place cmb is the controller memory buffer of an NVMe controller, pmr its persistent \
      memory region (with erase=yes: what is in it was meant to last), wherever its registers say \
      that they are: `genpoolctl nvme show`. The controller is enabled to use them meanwhile. Offset and \
      size take a part of it, as of a BAR.

      Where the kernel cannot tell which processes map what an earlier genpoold lent (sysfs since Linux 7.0, \
      overlayfs), it is not attached after a genpoold that had lent it was killed. --force does it all the same: say so only \
      when no process maps it any more. It is logged. A pool of genpoold's \
      configuration or --attach that waits for that reason takes the same specification, its name \
      included: "state" of `genpoolctl pool show` has the command.

      EXAMPLES
        genpoolctl pool attach 0000:01:00.0:2
        genpoolctl pool attach 01:00.0:2,offset=1M,size=32M,granule=64K,name=cmb
        genpoolctl pool attach 0000:02:00.0:2,allow=hotplug
        genpoolctl pool attach 0000:03:00.0:cmb
        genpoolctl pool attach 0000:03:00.0:cmb,access=user:alice+group:nvme
      """)

  @Argument(
    help: ArgumentHelp("What to attach: BDF:BAR and options.", valueName: "spec"),
    transform: Broker1.Attach.Parameters.parse)
  var specification: Broker1.Attach.Parameters

  @Flag(help: "Attach although an earlier run lent it, and the kernel cannot tell who maps it.")
  var force = false

  @OptionGroup var broker: BrokerOptions
  @OptionGroup var output: OutputOptions

  func run() throws {
    var specification = specification
    if force { specification.force = true }
    let pool = try broker.connectAsAdmin().attach(specification)
    if let limit = pool.isolationLimit {
      StandardError.write("note: pool \(pool.name): \(limit)\n")
    }
    try output.write(Broker1.Attach.Reply(pool: pool), text: PoolList.table(of: [pool]))
  }
}

extension Broker1.Attach.Parameters {
  /// Reads a specification, or says what is wrong with it as ArgumentParser wants to hear it.
  @Sendable
  fileprivate static func parse(_ text: String) throws -> Self {
    do {
      return try Self(specification: text)
    } catch {
      throw ValidationError(error.description)
    }
  }
}
