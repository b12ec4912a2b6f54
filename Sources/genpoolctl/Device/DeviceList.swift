import ArgumentParser
import GenPool
import LinuxSystem
import PCIDevices
import PCINames
import SystemPackage

/// `genpoolctl device list`
struct DeviceList: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract:
      "Lists the PCI devices, what uses them, whether their memory can be attached, and their BARs.",
    discussion: """
      USE is what of the running system hangs on the device, as far as sysfs shows it: a mounted disk, an \
      interface that is up. VERDICT is the source that could attach its memory (sysfs, vfio), or the first \
      rule that forbids it: `genpoolctl device show` has the cause and the cure. On a terminal USE and \
      NAME are cut to its width, elsewhere they are whole. What of a device cannot be read is said with it \
      ("problems" with --json), and entries that are no devices at the end ("unreadable"); the exit status \
      is 1 then, and when there is no PCI bus.

      Read from /sys, or from the tree that GENPOOL_SYSFS_ROOT names. A BAR's addresses are the \
      CPU's; the bus address, which other devices use for DMA, is shown where it differs.

      EXAMPLE: the prefetchable memory BARs
        genpoolctl device list --json | jq '.devices[] | .address as $a | .bars[]
          | select(.prefetchable) | [$a, .index, .size, .bus]' -c

      EXAMPLE: the devices that could become pools now
        genpoolctl device list --json | jq -r '.devices[] | select(.verdict.attachable) | .address'
      """)

  @OptionGroup var output: OutputOptions

  func run() throws {
    let tree = DeviceTree()
    let listing: DeviceTree.Listing
    do throws(DeviceError) {
      listing = try tree.list()
    } catch {
      guard error.errno == .noSuchFileOrDirectory else { throw error }
      // A machine or a container without a bus is not one that cannot be read.
      try output.write(
        Document(
          devices: [], unreadable: [.init(name: "bus/pci/devices", cause: error.description)]),
        text: "There is no PCI bus: \(error).\n")
      throw ExitCode(1)
    }
    let verdicts = try Self.verdicts(on: listing.devices, in: tree)
    let names = DeviceNames()
    let unreadable = listing.unreadable.map { Unreadable(name: $0.name, cause: "\($0.cause)") }
    try output.write(
      Document(
        devices: zip(listing.devices, verdicts).map { device, verdict in
          DeviceDocument(device, names, verdict: verdict)
        }, unreadable: unreadable),
      text: Self.text(of: listing.devices, verdicts, names)
        + unreadable.map { "Left out \($0.name): \($0.cause)".wrapped(indent: "") + "\n" }.joined())
    if !unreadable.isEmpty || listing.devices.contains(where: { !$0.problems.isEmpty }) {
      throw ExitCode(1)
    }
  }

  private struct Document: Encodable {
    let devices: [DeviceDocument]
    let unreadable: [Unreadable]
  }

  /// An entry of the bus that is no device one can use.
  private struct Unreadable: Encodable {
    let name: String
    let cause: String
  }

  /// The verdict on each of `devices`, in their order.
  static func verdicts(
    on devices: [Device], in tree: DeviceTree
  ) throws(DeviceError) -> [DeviceVerdict] {
    let lockdown = try tree.lockdown()
    let uses = DeviceUses(under: tree.root)
    let places = devices.isEmpty ? [] : try tree.places()
    return devices.map { DeviceVerdict(on: $0, lockdown: lockdown, uses: uses, places: places) }
  }

  static func text(
    of devices: [Device], _ verdicts: [DeviceVerdict], _ names: borrowing DeviceNames
  ) -> String {
    guard !devices.isEmpty else { return "There are no PCI devices.\n" }
    var table = Table([
      .init("DEVICE"), .init("IDS"), .init("DRIVER"), .init("USE", flexible: true),
      .init("VERDICT"), .init("NAME", flexible: true),
    ])
    for (device, verdict) in zip(devices, verdicts) {
      table.add([
        "\(device.address)", "\(device.identity)", device.driver ?? "-",
        verdict.uses.isEmpty ? "-" : verdict.uses.joined(separator: ", "), verdict.text,
        names.name(of: device) ?? "class \(device.classCode)",
      ])
    }
    let rows = table.text.split(separator: "\n")
    var text = rows[0] + "\n"
    for (device, row) in zip(devices, rows.dropFirst()) {
      text += row + "\n"
      for bar in device.bars where bar.kind == .memory {
        text += "  \(bar)  \(bar.size)\n"
        if let bus = bar.differingBus { text += "        bus \(bus)\n" }
      }
      for problem in device.problems {
        text += "not known: \(problem)".wrapped(indent: "  ") + "\n"
      }
    }
    return String(text)
  }
}

extension BAR {
  /// The bus address where it is another number than the physical one.
  var differingBus: BusAddress? {
    guard let bus, bus.rawValue != physical?.first.rawValue else { return nil }
    return bus
  }
}
