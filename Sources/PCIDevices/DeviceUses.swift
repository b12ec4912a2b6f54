import SystemPackage

/// The uses of all of a machine's devices that sysfs and proc show, read once: for listings, in
/// which reading them for each device would cost devices times block devices.
///
/// Opens no block device, as ``DeviceUse/shown(of:under:)`` does not.
package struct DeviceUses: Sendable {
  private var uses: [PCIAddress: [DeviceUse]] = [:]
  /// The error for which a use may not show, of any device.
  package private(set) var failure: DeviceError?

  /// Reads the uses under `root`. O(block devices × mounts + network interfaces).
  package init(under root: SysfsRoot) {
    do throws(DeviceError) {
      try readBlockDevices(under: root)
    } catch {
      failure = error
    }
    do throws(DeviceError) {
      try readNetworkInterfaces(under: root)
    } catch {
      failure = failure ?? error
    }
  }

  /// The uses of the device at `address` that show; where they could not be read, that.
  package subscript(address: PCIAddress) -> [DeviceUse] {
    let known = uses[address] ?? []
    guard let failure else { return known }
    return known + [.undecided(name: "\(address)", because: failure.description)]
  }

  private mutating func readBlockDevices(under root: SysfsRoot) throws(DeviceError) {
    let all = root["class/block"]
    guard try all.exists() else { return }
    let subsystems = try Self.nvmeSubsystems(under: root)
    var owners: [(name: String, devices: [PCIAddress])] = []
    for name in try all.entries() {
      let components = try all[name].linkTarget()?.components.map(\.string) ?? []
      let devices = components.flatMap { component in
        PCIAddress(component).map { [$0] } ?? subsystems[component] ?? []
      }
      if !devices.isEmpty { owners.append((name, devices)) }
    }
    guard !owners.isEmpty else { return }
    let mounts = try DeviceUse.Mount.all(under: root)
    let swaps = try DeviceUse.swaps(under: root)
    for (name, devices) in owners {
      let found = try DeviceUse.blockUses(of: [name], mounts: mounts, swaps: swaps, under: root)
      for device in Set(devices) { uses[device, default: []] += found }
    }
  }

  private mutating func readNetworkInterfaces(under root: SysfsRoot) throws(DeviceError) {
    let all = root["class/net"]
    guard try all.exists() else { return }
    for name in try all.entries() {
      // bonding_masters is a file.
      guard let target = try? all[name].linkTarget() else { continue }
      let devices = target.components.compactMap { PCIAddress($0.string) }
      guard !devices.isEmpty else { continue }
      var use: DeviceUse?
      do throws(DeviceError) {
        if try DeviceUse.isUp(all[name]) { use = .network(name: name) }
      } catch {
        use = .undecided(name: name, because: error.description)
      }
      guard let use else { continue }
      for device in Set(devices) { uses[device, default: []].append(use) }
    }
  }

  /// The controllers of each NVMe subsystem, on which namespaces with several paths hang.
  private static func nvmeSubsystems(
    under root: SysfsRoot
  ) throws(DeviceError) -> [String: [PCIAddress]] {
    let all = root["class/nvme-subsystem"]
    guard try all.exists() else { return [:] }
    var found: [String: [PCIAddress]] = [:]
    for name in try all.entries() {
      for entry in try all[name].entries() where entry.hasPrefix("nvme") {
        // A path's own disk is a directory here, a controller a link.
        guard let target = try? all[name][entry].linkTarget() else { continue }
        found[name, default: []] += target.components.compactMap { PCIAddress($0.string) }
      }
    }
    return found
  }
}

extension AttachRule.Subject {
  /// A request for `device`, with the kernel's lockdown, the machine's uses and the places of all
  /// BARs as they were read before: for listings, which ask the rules about many devices.
  package init(
    _ request: BARRequest, of device: Device, lockdown: Lockdown, uses: DeviceUses,
    places: [BARPlace]
  ) {
    let known = uses[device.address]
    self.init(
      request, device, lockdown, uses: known.isEmpty ? [:] : [device.address: known],
      places: places)
  }
}
