import ArgumentParser
import Broker
import BrokerProtocol
import FoundationEssentials
import Glibc
import Logging
import PCIDevices
import SystemPackage

/// The daemon's command line: parse, set up, run.
@main
struct GenPoolD: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "genpoold",
    abstract: "Leases the memory of PCIe devices to processes.",
    discussion: """
      Reads --config, else (as root) /etc/genpool/genpoold.json if there is one: genpoold.json(5). \
      Options override it, it overrides variables; pools of --attach come in addition. SIGHUP reads \
      it again: pools come and go, limits and log level hold at once, and a file with mistakes \
      changes nothing. Without a configuration SIGHUP stops the daemon.

      Listens at --socket, else the configuration's, else GENPOOL_SOCKET, else /run/genpool/io.genpool.Broker1 (root) or \
      $XDG_RUNTIME_DIR/genpool/io.genpool.Broker1, or takes the sockets that systemd passes it \
      (LISTEN_FDS). The admin socket is beside it: the same path and .admin. Clients that connect before \
      everything of --attach was tried wait until it was.

      Attaching ERASES memory. A device is refused unless all attach rules hold: `genpoolctl device \
      show` says which do not, and what helps. SPEC is \
      BDF:BAR[,offset=N][,size=N][,granule=N][,name=S][,allow=RULE[+RULE...]][,source=S]\
      [,erase=yes]. In the BAR's place cmb and pmr (with erase=yes) are an NVMe controller's own memory. The source is \
      sysfs, or vfio for a device that is bound to vfio-pci (`genpoolctl device bind`): it can be pulled \
      out safely then, but waits for every process that maps its memory.

      When a device is pulled out, its pools and their leases are revoked; when one is plugged in at \
      the address of an --attach, that pool is attached, as soon as no process holds the old memory.

      Members of the group genpool may connect, those of genpool-admin to the admin socket, where there are such \
      groups or the configuration names others. Only connections to the admin socket may attach, detach and take \
      leases of others, root's too. SIGTERM and SIGINT stop it: all devices are given back as they were, \
      and every lease is void.

      Logs one line an event on standard error, with priorities if that is the journal. Every \
      attach, detach, lease, release and reclaim is a notice with uid and pid.

      Another user gets memory only when the kernel sees that no process reaches it any more. Where the \
      kernel cannot tell (VFIO while the pool is attached; sysfs since Linux 7.0; overlayfs) it stays with \
      its user until an admin detaches and attaches the pool. A record in --runtime-directory keeps that \
      across runs; after a run that was killed the pool waits for `genpoolctl pool attach --force`.

      A pool whose memory is in use when it is to be attached (a process maps it, another process or \
      the kernel has the device) keeps nothing from starting: it is listed as waiting, tried again \
      every 2 to 30 s (each second while an Acquire waits for it), and attached when the memory is \
      free, unless `genpoolctl pool detach` or a reload ends that. Any other failure of an --attach ends genpoold with status 1.

      With --record each pool has a file POOL-TIME.gpt, from what the pool holds when that begins, and \
      `genpool-bench replay` does all of it again and compares: a failure from the field becomes a \
      test. Nothing deletes the files; a full disk ends the record and does the daemon no harm; \
      genpoold(8) says more.

      Exit status: 0 stopped, 1 failed, 64 wrong usage, 78 mistakes in the configuration.

      EXAMPLE
        genpoold --attach 0000:01:00.0:2,name=cmb --attach 0000:02:00.0:2,size=32M
        genpoold --config genpoold.json --check-config
      """,
    version: "genpoold " + Release.version)

  @Option(help: ArgumentHelp("The configuration.", valueName: "file"))
  var config: String?

  @Flag(help: "Say what the configuration means, or every mistake in it, and end.")
  var checkConfig = false

  @Option(
    help: ArgumentHelp(
      "Where to listen for clients; the admin socket is PATH.admin.", valueName: "path"))
  var socket: String?

  @Option(
    help: ArgumentHelp(
      "Where devices are found (default: GENPOOL_SYSFS_ROOT, else /sys).", valueName: "dir"))
  var sysfsRoot: String?

  @Option(
    name: .customLong("attach"), help: ArgumentHelp("A pool to start with.", valueName: "spec"),
    transform: parseSpecification)
  var attachments: [Broker1.Attach.Parameters] = []

  @Option(
    help: ArgumentHelp(
      "Log this and what is more severe: trace, debug, info, notice, warning, error, critical "
        + "(default: the configuration's, else GENPOOL_LOG, else info).", valueName: "level"),
    transform: parseLevel)
  var logLevel: Logger.Level?

  @Option(
    help: ArgumentHelp(
      "Write what each pool is asked, and what it answers, to a file of its own in this directory "
        + "(default: the configuration's, else nowhere). It must be there, and writable.",
      valueName: "dir"),
    completion: .directory, transform: parseRecordDirectory)
  var record: RecordDirectory?

  @Option(
    help: ArgumentHelp(
      "Keep records of lent memory in this directory, for later runs (default: RUNTIME_DIRECTORY, else "
        + "/run/genpoold (root), $XDG_RUNTIME_DIR/genpoold or /tmp/genpoold-UID).",
      valueName: "dir"),
    completion: .directory)
  var runtimeDirectory: String?

  func run() throws {
    let configuration = try readConfiguration()
    guard !checkConfig else { return }
    do {
      try Daemon(self, configuration).run()
    } catch {
      // Not through the log: whoever started it by hand waits for this.
      FileDescriptor.standardError.writeLine("genpoold: \(error)")
      throw ExitCode.failure
    }
  }
}

extension GenPoolD {
  /// sysexits.h: EX_CONFIG.
  private static let misconfigured = ExitCode(78)

  /// The configuration, said if it is to be checked. Mistakes are said and end the program.
  private func readConfiguration() throws -> Configuration {
    do throws(InvalidConfiguration) {
      // A check without a file is a mistake, a start without one is not.
      let path = config ?? (checkConfig ? Configuration.standardPath : nil)
      let configuration = try Configuration.current(path)
      if checkConfig, let path {
        FileDescriptor.standardOutput.writeLine("\(path): correct")
        for line in configuration.summary { FileDescriptor.standardOutput.writeLine("  " + line) }
        for line in configuration.warnings { FileDescriptor.standardError.writeLine(line) }
      }
      return configuration
    } catch {
      for line in error.lines { FileDescriptor.standardError.writeLine(line) }
      throw Self.misconfigured
    }
  }
}

/// Reads a specification, or says what is wrong with it as ArgumentParser wants to hear it.
@Sendable
private func parseSpecification(_ text: String) throws -> Broker1.Attach.Parameters {
  do {
    return try Broker1.Attach.Parameters(specification: text)
  } catch {
    throw ValidationError(error.description)
  }
}

@Sendable
private func parseRecordDirectory(_ text: String) throws -> RecordDirectory {
  guard let directory = RecordDirectory(argument: text) else {
    throw ValidationError("\"\(text)\" is no directory.")
  }
  return directory
}

@Sendable
private func parseLevel(_ text: String) throws -> Logger.Level {
  guard let level = Logger.Level(rawValue: text) else {
    let levels = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
    throw ValidationError("\(text) is no level; there are \(levels)")
  }
  return level
}

extension FileDescriptor {
  /// Writes `text` and a line's end, or as much as goes: there is nobody to tell.
  fileprivate func writeLine(_ text: String) {
    _ = try? writeAll((text + "\n").utf8)
  }
}
