import ArgumentParser
import DeviceEmulation
import GenPool
import Glibc
import PCIDevices
import SystemPackage

/// `genpoolctl emulate [create]`
struct EmulateCreate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create",
    abstract: "Makes devices out of files, for running genpool without hardware.",
    usage:
      "genpoolctl emulate create [<dir>] --device <device> ... [--ephemeral] [--json] [-- <command> ...]",
    discussion: """
      Writes a tree that looks like /sys of a machine with these devices; their memory is in sparse \
      files. genpoold and genpoolctl use it when GENPOOL_SYSFS_ROOT names it. \
      `genpoolctl emulate add` plugs more devices into a tree that is there.

      DEVICE is KIND[,OPTION=VALUE]...: nvme with cmb=SIZE (a controller memory buffer in BAR 2) \
      and pmr=SIZE (a persistent memory region in BAR 4), ivshmem with size=SIZE (BAR 2), memory with size=SIZE, vendor=0x.., device=0x... All kinds have \
      address=BDF, bus-offset=[-]SIZE, driver=NAME, group=N, node=N and removable=yes|no.

      With --ephemeral the tree is in a new private directory, unless DIR is given, under XDG_RUNTIME_DIR, else \
      TMPDIR or /tmp. With COMMAND it is removed when COMMAND ends, by a signal too, and the exit status is \
      COMMAND's (128 and the number for a signal; 126, 127: it cannot be run). Without one all that is printed are the \
      lines by which a shell uses the tree and a socket beside it.

      A private directory that was not removed (genpoolctl was killed, or no COMMAND was given) is removed by the next \
      `emulate --ephemeral` of the same user, when no process is left of COMMAND, or of the shell's session. One that was \
      given as DIR stays.

      EXAMPLES
        genpoolctl emulate /tmp/tree --device nvme,cmb=64M --device ivshmem,size=16M
        genpoolctl emulate --ephemeral --device nvme,cmb=64M -- sh -c 'genpoolctl device list'
        eval "$(genpoolctl emulate --ephemeral --device nvme,cmb=64M)"
      """)

  @Argument(help: ArgumentHelp("Where; made if it is not there.", valueName: "dir"))
  var directory: String?

  @Option(
    name: .customLong("device"),
    help: ArgumentHelp("A device to be made; can be repeated.", valueName: "device"),
    transform: EmulatedDevice.parseArgument)
  var devices: [EmulatedDevice] = []

  @Flag(
    help: "Remove the tree with its command, or print its environment, for eval \"$(...)\".")
  var ephemeral = false

  @OptionGroup var output: OutputOptions

  @Argument(
    parsing: .postTerminator,
    help: ArgumentHelp(
      "After --, with --ephemeral: what to run with the tree.", valueName: "command"))
  var command: [String] = []

  func validate() throws {
    if devices.isEmpty { throw ValidationError("--device: name at least one device.") }
    if directory == nil, !ephemeral {
      throw ValidationError("Give a directory, or --ephemeral for a private one.")
    }
    guard !command.isEmpty else { return }
    if !ephemeral { throw ValidationError("A command goes with --ephemeral.") }
    if output.json {
      throw ValidationError(
        "--json and a command exclude each other: standard output is the command's.")
    }
  }

  func run() throws {
    if ephemeral { PrivateDirectory.clearAbandoned() }
    guard !command.isEmpty else { return try create() }
    // Before there is anything to be removed.
    let runner = try CommandInTree()
    let status: CInt
    if let directory {
      let place = EmulationPlace(tree: directory)
      let sockets = try SocketsToRemove(of: place)
      let tree = try makeTree(at: place)
      defer {
        tree.destroy()
        sockets.remove()
      }
      status = try runner.run(command, in: place)
    } else {
      let ours = try PrivateDirectory(for: .command)
      defer { ours.remove() }
      let place = EmulationPlace(ours)
      _ = try makeTree(at: place)
      status = try runner.run(command, in: place)
    }
    throw ExitCode(status)
  }

  private func create() throws {
    if let directory { return try create(at: EmulationPlace(tree: directory)) }
    let ours = try PrivateDirectory(for: .session)
    do {
      try create(at: EmulationPlace(ours))
    } catch {
      ours.remove()
      throw error
    }
  }

  private func makeTree(at place: EmulationPlace) throws -> EmulatedTree {
    guard (try? EmulatedTree(opening: place.tree)) == nil else {
      throw Failure(
        "emulate \(place.tree): it is an emulated tree already; `genpoolctl emulate add` plugs devices in, "
          + "and removing the directory ends it")
    }
    return try EmulatedTree.create(at: place.tree, devices: devices)
  }

  private func create(at place: EmulationPlace) throws {
    let tree = try makeTree(at: place)
    let reading = DeviceTree(root: tree.root)
    let made = try reading.list().devices
    let verdicts = try DeviceList.verdicts(on: made, in: reading)
    let names = DeviceNames()
    try output.write(
      Document(
        devices: zip(made, verdicts).map { DeviceDocument($0, names, verdict: $1) },
        environment: place.environment),
      text: ephemeral
        ? place.exports
        : DeviceList.text(of: made, verdicts, names) + "\nUse it with\n\n" + place.exports)
  }

  private struct Document: Encodable {
    let devices: [DeviceDocument]
    let environment: [String: String]
  }
}

extension EmulatedDevice {
  /// Reads a device, or says what is wrong with it as ArgumentParser wants to hear it.
  @Sendable
  static func parseArgument(_ text: String) throws -> Self {
    do {
      return try parse(text)
    } catch {
      throw ValidationError(error.description)
    }
  }
}
