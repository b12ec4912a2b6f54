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
    discussion: """
      Writes a tree that looks like /sys of a machine with these devices; their memory is in sparse \
      files. genpoold and genpoolctl use it when GENPOOL_SYSFS_ROOT names it. \
      `genpoolctl emulate add` plugs more devices into a tree that is there.

      DEVICE is KIND[,OPTION=VALUE]...: nvme with cmb=SIZE (a controller memory buffer in BAR 2) \
      and pmr=SIZE (a persistent memory region in BAR 4), ivshmem with size=SIZE (BAR 2), memory with size=SIZE, vendor=0x.., device=0x... All kinds have \
      address=BDF, bus-offset=[-]SIZE, driver=NAME, group=N, node=N and removable=yes|no.

      With --ephemeral the tree is in a new private directory, unless DIR is given, and all that is \
      printed are the lines by which a shell uses it and a socket beside it. Removing the directory is \
      left to you, and to the system if it is under XDG_RUNTIME_DIR.

      EXAMPLES
        genpoolctl emulate /tmp/tree --device nvme,cmb=64M --device ivshmem,size=16M
        eval "$(genpoolctl emulate --ephemeral --device nvme,cmb=64M)"
      """)

  @Argument(help: ArgumentHelp("Where; made if it is not there.", valueName: "dir"))
  var directory: String?

  @Option(
    name: .customLong("device"),
    help: ArgumentHelp("A device to be made; can be repeated.", valueName: "device"),
    transform: EmulatedDevice.parseArgument)
  var devices: [EmulatedDevice] = []

  @Flag(help: "Print the environment of the tree, for eval \"$(...)\".")
  var ephemeral = false

  @OptionGroup var output: OutputOptions

  func validate() throws {
    if devices.isEmpty { throw ValidationError("--device: name at least one device.") }
    if directory == nil, !ephemeral {
      throw ValidationError("Give a directory, or --ephemeral for a private one.")
    }
  }

  func run() throws {
    let place = try directory.map { EmulationPlace(tree: $0) } ?? EmulationPlace.makePrivate()
    guard (try? EmulatedTree(opening: place.tree)) == nil else {
      throw Failure(
        "emulate \(place.tree): it is an emulated tree already; `genpoolctl emulate add` plugs devices in, "
          + "and removing the directory ends it")
    }
    let tree = try EmulatedTree.create(at: place.tree, devices: devices)
    let reading = DeviceTree(root: tree.root)
    let made = try reading.list().devices
    let verdicts = try DeviceList.verdicts(on: made, in: reading)
    let names = DeviceNames()
    try output.write(
      Document(
        devices: made.map { DeviceDocument($0, names) },
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
