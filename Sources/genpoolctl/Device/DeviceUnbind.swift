import ArgumentParser
import DriverBinding
import PCIDevices

/// `genpoolctl device unbind BDF`
struct DeviceUnbind: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "unbind",
    abstract: "Gives a device back to the driver that it had before `device bind`.",
    usage: "genpoolctl device unbind <bdf> [<options>]",
    discussion: """
      The driver that `device bind` found, and its override, are remembered; of a device that others \
      gave to vfio-pci, uio_pci_generic or pci-stub the kernel chooses the driver. Any other device is \
      refused (not-bound), and so is one whose disk or network interface is in use. Waits until every \
      process has let go of the device; genpoold does so at once. For root.

      EXAMPLES
        genpoolctl device unbind 0000:01:00.0
        genpoolctl device unbind 01:00.0 --group
      """)

  @Argument(help: "The device's address, like 0000:01:00.0 or 01:00.0.")
  var address: PCIAddress

  @Flag(help: "Give back the other members of its IOMMU group that were bound, too.")
  var group = false

  @Flag(help: "Only say what would be done.")
  var dryRun = false

  @OptionGroup var output: OutputOptions

  func run() throws {
    let binding = DeviceBinding.standard
    let plan = try binding.plan(unbinding: address, isWholeGroup: group)
    try BindingOutcome(plan, of: binding, isDryRun: dryRun).finish(output)
  }
}
