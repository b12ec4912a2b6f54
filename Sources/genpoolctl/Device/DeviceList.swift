import ArgumentParser
import GenPool
import PCIDevices
import PCINames

/// `genpoolctl device list`
struct DeviceList: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "Lists the PCI devices and their BARs, by address.",
    discussion: """
      Read from /sys, or from the tree that GENPOOL_SYSFS_ROOT names. A BAR's addresses are the \
      CPU's; the bus address, which other devices use for DMA, is shown where it differs.

      EXAMPLE: the prefetchable memory BARs
        genpoolctl device list --json | jq '.devices[] | .address as $a | .bars[]
          | select(.prefetchable) | [$a, .index, .size, .bus]' -c
      """)

  @OptionGroup var output: OutputOptions

  func run() throws {
    let listing = try DeviceTree().list()
    let names = DeviceNames()
    try output.write(
      Document(devices: listing.devices.map { DeviceDocument($0, names) }),
      text: Self.text(of: listing.devices, names))
    for unreadable in listing.unreadable {
      StandardError.write("genpoolctl: left out \(unreadable.name): \(unreadable.cause)\n")
    }
  }

  private struct Document: Encodable {
    let devices: [DeviceDocument]
  }

  static func text(of devices: [Device], _ names: borrowing DeviceNames) -> String {
    guard !devices.isEmpty else { return "There are no PCI devices.\n" }
    var text = ""
    for device in devices {
      let driver = device.driver.map { " (driver \($0))" } ?? ""
      let start = "\(device.address)  \(device.identity)  "
      let name = names.name(of: device) ?? "class \(device.classCode)"
      text += start + name.cut(to: Table.width - start.count - driver.count) + driver + "\n"
      for bar in device.bars where bar.kind == .memory {
        text += "  \(bar)  \(bar.size)\n"
        if let bus = bar.differingBus { text += "        bus \(bus)\n" }
      }
    }
    return text
  }
}

extension BAR {
  /// The bus address where it is another number than the physical one.
  var differingBus: BusAddress? {
    guard let bus, bus.rawValue != physical?.first.rawValue else { return nil }
    return bus
  }
}
