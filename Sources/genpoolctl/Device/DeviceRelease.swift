import ArgumentParser
import DriverBinding
import PCIDevices

/// `genpoolctl device release BDF`
struct DeviceRelease: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "release",
    abstract: "Takes a device from its driver and leaves it without one, for use through sysfs.",
    usage: "genpoolctl device release <bdf> [<options>]",
    discussion: """
      The same checks as those of `genpoolctl device bind` come first: displays, bridges, the firmware's \
      console, disks and network interfaces in use are refused, and members of the IOMMU group that \
      have drivers are in the way (--group releases those too). driver_override is "none" afterwards, so \
      that no driver takes the device again. `genpoolctl device unbind` gives it back to the driver that \
      it had. For root.

      With an IOMMU, vfio-pci (`genpoolctl device bind`) is safer: the device reaches nothing then but what \
      it was given.

      EXAMPLES
        genpoolctl device release 0000:01:00.0 --dry-run
        genpoolctl device release 01:00.0 && genpoolctl pool attach 01:00.0:2
      """)

  @Argument(help: "The device's address, like 0000:01:00.0 or 01:00.0.")
  var address: PCIAddress

  @Flag(help: "Release the other members of its IOMMU group that are in the way, too.")
  var group = false

  @Option(
    help: ArgumentHelp(
      "The device's ids, typed again: release it whatever it is used for.",
      valueName: "vvvv:dddd"))
  var force: DeviceIdentity?

  @Flag(help: "Only say what would be done.")
  var dryRun = false

  @OptionGroup var output: OutputOptions

  func run() throws {
    let binding = DeviceBinding.standard
    let plan = try binding.plan(releasing: address, isWholeGroup: group, forced: force)
    try BindingOutcome(plan, of: binding, isDryRun: dryRun).finish(output)
  }
}
