import ArgumentParser
import DeviceEmulation
import PCIDevices

/// `genpoolctl emulate add DIR --device DEVICE`
struct EmulateAdd: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "add",
    abstract: "Plugs devices into an emulated tree.",
    discussion: """
      A genpoold that uses the tree notices, and attaches the pools of that address that it was \
      started with. DEVICE is as in `genpoolctl emulate create --help`.

      EXAMPLE
        genpoolctl emulate add /tmp/tree --device nvme,cmb=64M,address=0000:01:00.0
      """)

  @Argument(help: ArgumentHelp("The tree.", valueName: "dir"))
  var directory: String

  @Option(
    name: .customLong("device"),
    help: ArgumentHelp("A device to plug in; can be repeated.", valueName: "device"),
    transform: EmulatedDevice.parseArgument)
  var devices: [EmulatedDevice] = []

  @OptionGroup var output: OutputOptions

  func validate() throws {
    if devices.isEmpty { throw ValidationError("--device: name at least one device.") }
  }

  func run() throws {
    let tree = try EmulatedTree(opening: EmulationPlace(tree: directory).tree)
    var added: [PCIAddress] = []
    for device in devices { added.append(try tree.add(device)) }
    try output.write(
      Added(added: added.map(\.description)),
      text: added.map { "Device \($0) is plugged in.\n" }.joined())
  }

  private struct Added: Encodable {
    let added: [String]
  }
}
