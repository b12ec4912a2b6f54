import ArgumentParser
import DeviceMemory
import PCIDevices

/// `genpoolctl nvme show BDF`
struct NVMeShow: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Explains a controller's capabilities and memory: what, where, for what.",
    discussion: """
      Decodes the registers of the controller memory buffer (CMB) and the persistent memory region \
      (PMR), says where they lie and what can be kept there, and what genpool can do with them. \
      With a driver bound it goes by the driver's attributes and says what cannot be known. Without one \
      the registers are mapped read-only, which takes root; the device's memory is switched on \
      meanwhile. A controller that is bound to vfio-pci is opened through VFIO, unless somebody else has \
      it: the kernel resets it before and after that.

      EXAMPLES
        genpoolctl nvme show 01:00.0
        genpoolctl nvme show 01:00.0 --probe --json
      """)

  @Argument(help: "The controller's address, like 0000:01:00.0 or 01:00.0.")
  var address: PCIAddress

  @Flag(
    help: """
      Ask a controller that hides its buffer's registers for them, and hide them again. That writes a \
      register (CMBMSC), but enables nothing.
      """)
  var probe = false

  @Option(
    help: ArgumentHelp("An attach rule that may be broken, such as hotplug.", valueName: "rule"))
  var allow: [String] = []

  @OptionGroup var output: OutputOptions

  func run() throws {
    // Registers that stop answering are an error, not a signal.
    try FaultGuard.enable()
    let survey = try NVMeSurvey(
      address, in: DeviceTree(), allowed: Set(allow), isProbing: probe)
    try output.write(NVMeDocument(survey), text: survey.text(DeviceNames()))
  }
}
