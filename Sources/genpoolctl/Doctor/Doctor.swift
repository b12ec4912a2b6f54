import ArgumentParser
import BrokerProtocol
import GenPoolClient

/// `genpoolctl doctor`
struct Doctor: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Checks what of genpool works on this machine, what does not, why, and what to type.",
    discussion: """
      A line for each of: the kernel and the isolation that it allows, lockdown, mapping of BARs through \
      sysfs (resourceN, IO_STRICT_DEVMEM), VFIO, IOMMU groups, devices with memory and what uses them, NVMe \
      controllers, the group that may lease, the socket, the daemon and its pools, namespaces and \
      containers, huge pages. A line "works", "does not" or is "unknown": what cannot be read is never \
      taken for good. After an arrow comes what to type.

      It reads files only: no memory of a device is touched, nothing is written, and a daemon is asked only \
      when it runs already. With GENPOOL_SYSFS_ROOT the devices are those of the emulated tree.

      Exit status: 0 when this user can lease memory from a daemon that runs, or map memory of a device; \
      else 1.

      EXAMPLES
        genpoolctl doctor
        genpoolctl doctor --json | jq -r '.checks[] | select(.state != "works") | .name'
      """)

  @Option(
    help: ArgumentHelp(
      "The daemon's socket for clients (default: see genpoolctl --help).", valueName: "path"))
  var socket: String?

  @OptionGroup var output: OutputOptions

  func run() throws {
    let diagnosis = Diagnosis(
      of: .standard, socket: socket.map { BrokerSocket(path: $0) } ?? .standard)
    try output.write(DiagnosisDocument(diagnosis), text: diagnosis.text)
    // Standard output has said why.
    guard diagnosis.canLease || diagnosis.canMap else { throw ExitCode.failure }
  }
}
