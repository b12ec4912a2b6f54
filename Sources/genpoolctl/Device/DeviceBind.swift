import ArgumentParser
import DriverBinding
import PCIDevices

/// `genpoolctl device bind BDF`
struct DeviceBind: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bind",
    abstract: "Takes a device from its driver and gives it to vfio-pci.",
    usage: "genpoolctl device bind <bdf> [<options>]",
    discussion: """
      Shows every member of the device's IOMMU group first: VFIO hands out whole groups, so a member \
      with another driver is in the way (--group binds those too). For root. What the device had is \
      remembered until `genpoolctl device unbind`, or until it is pulled out.

      Refused are displays, bridges, the firmware's console, disks that are mounted, in whatever \
      namespace, swapped to or part of something, and network interfaces that are up. --force with the \
      device's ids typed again overrides that, for this device alone. When the driver does not take the \
      device, all is as before.

      In an emulated tree (GENPOOL_SYSFS_ROOT) genpoolctl itself does the kernel's part: the device's files \
      have another driver then. A write to "unbind" by any other program has no effect there.

      EXAMPLES
        genpoolctl device bind 0000:01:00.0 --dry-run
        genpoolctl device bind 01:00.0 --group
        genpoolctl device bind 01:00.0 --force 1b36:0010
      """)

  @Argument(help: "The device's address, like 0000:01:00.0 or 01:00.0.")
  var address: PCIAddress

  @Option(help: ArgumentHelp("The driver that it gets.", valueName: "name"))
  var driver = IOMMUGroup.vfioDriver

  @Flag(help: "Bind the other members of its IOMMU group that are in the way, too.")
  var group = false

  @Option(
    help: ArgumentHelp(
      "The device's ids, typed again: bind it whatever it is used for.", valueName: "vvvv:dddd"))
  var force: DeviceIdentity?

  @Flag(help: "Only say what would be done.")
  var dryRun = false

  @OptionGroup var output: OutputOptions

  func run() throws {
    let binding = DeviceBinding.standard
    let plan = try binding.plan(
      binding: address, to: driver, isWholeGroup: group, forced: force)
    try BindingOutcome(plan, of: binding, isDryRun: dryRun).finish(output)
  }
}
