import ArgumentParser

/// `genpoolctl device …`
struct DeviceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "device",
    abstract:
      "Shows the machine's PCI devices and their memory, binds and releases them; without a daemon.",
    subcommands: [
      DeviceList.self, DeviceShow.self, DeviceBind.self, DeviceRelease.self,
      DeviceUnbind.self,
    ])
}
