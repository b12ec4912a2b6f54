import ArgumentParser
import DeviceMemory
import NVMe
import PCIDevices

/// `genpoolctl nvme show CONTROLLER`
struct NVMeShow: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Explains a controller's capabilities and memory: what, where, for what.",
    discussion: """
      Decodes the registers of the controller memory buffer (CMB) and the persistent memory region \
      (PMR), says where they lie and what can be kept there, and what genpool can do with them. \
      While the kernel's nvme driver has the controller it goes by the driver's attributes and says what cannot be known. \
      Without a driver, or with uio_pci_generic or pci-stub, the registers are mapped read-only, which takes root; \
      the device's memory is switched on meanwhile. A controller that is bound to vfio-pci is opened through VFIO, unless \
      another process has it: the kernel resets it before and after that.

      With --json, "cmb" and "pmr" are present, not-enabled (the controller announces it and shows it when it is \
      enabled), none, or unknown. Exit status 1: neither registers nor attributes could be read.

      EXAMPLES
        genpoolctl nvme show 01:00.0
        genpoolctl nvme show /dev/nvme0
        genpoolctl nvme show 01:00.0 --probe --json
      """)

  @Argument(
    help: ArgumentHelp(
      "Its address, like 0000:01:00.0 or 01:00.0, or a name of the kernel's: nvme0, /dev/nvme0, /dev/nvme0n1.",
      valueName: "controller"),
    transform: ControllerName.parseArgument)
  var controller: ControllerName

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
    let tree = DeviceTree()
    let address = try controller.address(in: tree)
    let survey = try NVMeSurvey(address, in: tree, allowed: Set(allow), isProbing: probe)
    try output.write(
      NVMeDocument(survey), text: survey.text(DeviceNames(), AttachedPools(of: address)))
    // Standard output has said why.
    guard survey.registers != nil || survey.attributes != nil else { throw ExitCode.failure }
  }

  func validate() throws {
    let rules = AttachRule.sysfs.filter(\.canBeAllowed).map(\.name)
    if let wrong = allow.first(where: { !rules.contains($0) }) {
      throw ValidationError(
        "--allow: \(wrong) cannot be allowed; there are \(rules.joined(separator: ", ")).")
    }
  }
}

extension ControllerName {
  /// Reads a name, or says what one looks like.
  @Sendable
  fileprivate static func parseArgument(_ text: String) throws -> Self {
    guard let name = Self(text) else {
      throw ValidationError(
        "\(text) is no address like 0000:01:00.0 or 01:00.0, and no name like nvme0 or /dev/nvme0n1."
      )
    }
    return name
  }
}
