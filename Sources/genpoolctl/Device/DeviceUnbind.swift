import ArgumentParser
import DeviceSources
import PCIDevices

/// `genpoolctl device unbind BDF`
struct DeviceUnbind: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "unbind",
    abstract: "Gives a device back to the driver that it had before `device bind`.",
    usage: "genpoolctl device unbind <bdf> [<options>]",
    discussion: """
      Of a device that was not bound by genpoolctl the kernel chooses the driver. Waits until every \
      process has let go of the device; genpoold does so at once. For root.

      EXAMPLE
        genpoolctl device unbind 0000:01:00.0
      """)

  @Argument(help: "The device's address, like 0000:01:00.0 or 01:00.0.")
  var address: PCIAddress

  @Flag(help: "Only say what would be done.")
  var dryRun = false

  @OptionGroup var output: OutputOptions

  func run() throws {
    let binding = DeviceBinding()
    let plan = try binding.plan(unbinding: address)
    try BindingOutcome(plan, of: binding, isDryRun: dryRun).finish(output)
  }
}
