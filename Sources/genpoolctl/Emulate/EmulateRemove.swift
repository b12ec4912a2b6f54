import ArgumentParser
import DeviceEmulation
import PCIDevices

/// `genpoolctl emulate remove DIR BDF`
struct EmulateRemove: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove",
    abstract: "Pulls a device out of an emulated tree.",
    discussion: """
      A genpoold that uses the tree notices, and revokes the device's pools and their leases. A process \
      that has its memory mapped keeps the mapping, as with a real device; one that has its configuration \
      space open reads all-ones.
      """)

  @Argument(help: ArgumentHelp("The tree.", valueName: "dir"))
  var directory: String

  @Argument(
    help: ArgumentHelp("The device's address, like 0000:01:00.0.", valueName: "bdf"),
    transform: PCIAddress.parseArgument)
  var address: PCIAddress

  @OptionGroup var output: OutputOptions

  func run() throws {
    try EmulatedTree(opening: EmulationPlace(tree: directory).tree).remove(address)
    try output.write(
      Removed(removed: address.description), text: "Device \(address) is pulled out.\n")
  }

  private struct Removed: Encodable {
    let removed: String
  }
}
