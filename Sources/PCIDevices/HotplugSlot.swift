/// A slot that a device can be pulled out of while the machine runs: a directory of
/// `/sys/bus/pci/slots` with a `power` file, which only slots with a hot-plug driver have.
package struct HotplugSlot: Hashable, Sendable {
  /// The slot's name, usually what is printed on the chassis.
  package let name: String
  /// The address of function 0 in it.
  private let first: PCIAddress
  /// Whether the slot is all of a bus, whatever the device's number (the kernel's slot number 0xff).
  private let isWholeBus: Bool

  /// Whether `address` sits in the slot.
  package func contains(_ address: PCIAddress) -> Bool {
    address.domain == first.domain && address.bus == first.bus
      && (isWholeBus || address.device == first.device)
  }

  /// The hot-plug slots of the machine, by name. Documented in sysfs-bus-pci, `slots/`.
  static func all(under root: SysfsRoot) throws(DeviceError) -> [HotplugSlot] {
    let slots = root["bus/pci/slots"]
    guard try slots.exists() else { return [] }
    var found: [HotplugSlot] = []
    for name in try slots.entries() where try slots[name]["power"].exists() {
      found.append(try HotplugSlot(name: name, address: slots[name]["address"].attribute()))
    }
    return found
  }

  /// The slot `name`. The kernel prints as its `address` domain:bus:device, or domain:bus for a slot
  /// that is a whole bus.
  package init(name: String, address: AttributeText) throws(DeviceError) {
    let (first, isWholeBus) = try address.value("the address of a slot") { text in
      switch text.count(where: { $0 == ":" }) {
      case 1: PCIAddress(text + ":00.0").map { ($0, true) }
      case 2: PCIAddress(text + ".0").map { ($0, false) }
      default: nil
      }
    }
    self.name = name
    self.first = first
    self.isWholeBus = isWholeBus
  }
}
