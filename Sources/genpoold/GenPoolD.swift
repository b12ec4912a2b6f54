import ArgumentParser
import Broker
import BrokerProtocol
import Glibc
import LinuxSystem
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
      changes nothing. The log has each key that changed, and each pool whose memory that erases before it is erased. Without a configuration SIGHUP stops the daemon.

      Listens at --socket, else the configuration's, else GENPOOL_SOCKET, else /run/genpool/io.genpool.Broker1 (root) or \
      $XDG_RUNTIME_DIR/genpool/io.genpool.Broker1, or takes the sockets that systemd passes it \
      (LISTEN_FDS). The admin socket is beside it: the same path and .admin. Clients that connect before \
      everything of --attach was tried wait until it was.

      Attaching ERASES memory. A device is refused unless all attach rules hold: `genpoolctl device \
      show` says which do not, and what helps. SPEC is \
      BDF:BAR[,offset=N][,size=N][,granule=N][,name=S][,allow=RULE[+RULE...]][,source=S]\
      [,erase=yes][,access=user:NAME[+group:NAME...]]. In the BAR's place cmb and pmr (with erase=yes) are an NVMe controller's own memory. The source is \
      sysfs, or vfio for a device that is bound to vfio-pci (`genpoolctl device bind`): it can be pulled \
      out safely then, but waits for every process that maps its memory.

      When a device is pulled out, its pools and their leases are revoked; when one is plugged in at \
      the address of an --attach, that pool is attached, as soon as no process holds the old memory.

      Members of the group genpool may connect, those of genpool-admin to the admin socket, where there are such \
      groups or the configuration names others. Only connections to the admin socket may attach, detach and take \
      leases of others, root's too. SIGTERM and SIGINT stop it: all devices are given back as they were, \
      and every lease is void.

      Logs one line an event on standard error, with priorities if that is the journal. Every attach and \
      detach is a notice with uid and pid, and so is every lease, release and reclaim, up to 500 of a user in \
      10 s; of more there is one line, `folded`, with the number of each. A reader that stalls, or a full disk, \
      does not stop the daemon: up to 1 MiB of lines wait, and of those that are lost the log has the number.

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

      Exit status: 0 stopped, 1 failed, 64 wrong usage, 78 mistakes in the configuration. With the latter two, and \
      with sockets of systemd, it first answers the clients that connect, for 2 s.

      EXAMPLE
        genpoold --attach 0000:01:00.0:2,name=cmb --attach 0000:02:00.0:2,size=32M
        genpoold --config genpoold.json --check-config
      """,
    version: "genpoold " + Release.version)

  @Option(help: ArgumentHelp("The configuration.", valueName: "file"))
  var config: String?

  @Flag(
    help: """
      Print the configuration's meaning, or every mistake in it (exit status 78), and end. Pools that could not be \
      attached as the machine is now are warnings on standard error, with exit status 0.
      """)
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

  static func main() {
    openStandardStreams()
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      if exitCode(for: error) == .validationFailure {
        WaitingClients.reject(
          because: .deviceError(
            operation: "read", subject: "genpoold's command line", errno: EINVAL,
            cause: "the daemon cannot start; its log has the mistake"))
      }
      exit(withError: error)
    }
  }

  func run() throws {
    if checkConfig { return try check() }
    let environment = ProcessEnvironment.variables
    let form = EventLogHandler.Form.ofStandardError(environment)
    let log = LogWriter(form: form)
    do {
      let configuration = try Configuration.current(config)
      try Daemon(self, configuration, log: log, form).run()
      log.finish()
    } catch let error as InvalidConfiguration {
      try? log.start()
      for line in error.lines { log.write(line + "\n") }
      WaitingClients.reject(because: error.asBrokerError)
      log.finish()
      throw Self.misconfigured
    } catch {
      // Without priority and time, at any level: the message of a command that failed.
      log.finish("genpoold: \(error)\n")
      throw ExitCode.failure
    }
  }
}

extension GenPoolD {
  /// sysexits.h: EX_CONFIG.
  private static let misconfigured = ExitCode(78)

  /// Prints what the configuration means, or every mistake in it, which is an error.
  private func check() throws {
    let path = config ?? Configuration.standardPath
    do throws(InvalidConfiguration) {
      let configuration = try Configuration.current(path)
      FileDescriptor.standardOutput.writeLine("\(path): correct")
      for line in configuration.summary { FileDescriptor.standardOutput.writeLine("  " + line) }
      let root = sysfsRoot.map { SysfsRoot(FilePath($0)) } ?? .standard
      for line in configuration.warnings(in: DeviceTree(root: root)) {
        FileDescriptor.standardError.writeLine("warning: " + line)
      }
    } catch {
      for line in error.lines { FileDescriptor.standardError.writeLine(line) }
      throw Self.misconfigured
    }
  }

  /// Opens those of the three standard streams that are closed, so that no device gets their
  /// numbers, and the log with it.
  private static func openStandardStreams() {
    while let file = try? FileDescriptor.open(FilePath("/dev/null"), .readWrite) {
      guard file.rawValue > STDERR_FILENO else { continue }
      try? file.close()
      return
    }
  }
}

extension InvalidConfiguration {
  /// The error for clients: without the mistakes, for not every client may read the file.
  fileprivate var asBrokerError: BrokerError {
    .deviceError(
      operation: "read", subject: "genpoold's configuration \(file)", errno: EINVAL,
      cause: problems.count == 1
        ? "it has a mistake; `genpoold --check-config` shows it"
        : "it has \(problems.count) mistakes; `genpoold --check-config` shows them")
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
