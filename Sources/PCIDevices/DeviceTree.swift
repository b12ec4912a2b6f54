/// What is plugged in, read from a sysfs root. Holds nothing open and keeps nothing: every call
/// reads anew, but for what all devices share during ``readingSharedOnce(_:)``.
public struct DeviceTree: Sendable {
  /// Where it reads.
  public let root: SysfsRoot
  /// Shared by all copies.
  let readings = TreeReadings()

  /// The devices under `root`. Reads nothing yet.
  public init(root: SysfsRoot = .standard) {
    self.root = root
  }

  /// What one look at the bus found.
  public struct Listing: Sendable {
    /// The devices, by address.
    public let devices: [Device]
    /// What could not be read, by name: one bad device does not hide the others.
    public let unreadable: [Unreadable]
  }

  /// A directory entry of the bus that is not a device one can use.
  public struct Unreadable: Hashable, Sendable {
    /// Its name in sysfs, a device's address as a rule.
    public let name: String
    /// What is wrong with it.
    public let cause: DeviceError
  }

  /// Calls `body`, during which this tree and its copies read an IOMMU group every second, and the
  /// places of all BARs every ten seconds at most: for looking at many devices, each of which needs
  /// all of that. A driver that is bound to another member of its group within that time, or
  /// another BAR that is moved over one, is not seen; all else of a device is read anew.
  public func readingSharedOnce<Result: ~Copyable, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try readings.reusing(body)
  }

  /// Every device on the bus. About 20 file reads a device; each IOMMU group is read once.
  /// - Throws: when there is no list to read: no PCI bus, or the wrong root.
  public func list() throws(DeviceError) -> Listing {
    // Readings of its own: another thread's are older, and not for it.
    let readings = TreeReadings()
    return try readings.reusing { () throws(DeviceError) in try list(readings) }
  }

  private func list(_ readings: TreeReadings) throws(DeviceError) -> Listing {
    var devices: [Device] = []
    var unreadable: [Unreadable] = []
    var slots: [HotplugSlot] = []
    do throws(DeviceError) {
      slots = try HotplugSlot.all(under: root)
    } catch {
      // Devices can be shown without; device(at:), by which they are opened, insists.
      unreadable.append(Unreadable(name: "slots", cause: error))
    }
    for name in try bus.entries() {
      do throws(DeviceError) {
        guard let address = PCIAddress(name), address.description == name else {
          throw bus[name].malformed("its name is not a PCI address")
        }
        devices.append(try Device(at: address, bus[name], slots: slots, readings, under: root))
      } catch {
        unreadable.append(Unreadable(name: name, cause: error))
      }
    }
    return Listing(devices: devices.sorted { $0.address < $1.address }, unreadable: unreadable)
  }

  /// The device at `address`.
  /// - Throws: ``DeviceError/noSuchDevice(_:root:)``, or why not even its ids can be read. What is
  ///   wrong with its other files is in ``Device/problems``.
  public func device(at address: PCIAddress) throws(DeviceError) -> Device {
    let node = bus[address.description]
    guard try node.exists() else { throw .noSuchDevice(address, root: root) }
    return try Device(at: address, node, slots: HotplugSlot.all(under: root), readings, under: root)
  }

  /// How far the kernel is locked down.
  public func lockdown() throws(DeviceError) -> Lockdown {
    try Lockdown(under: root)
  }

  var bus: SysfsNode { root["bus/pci/devices"] }
}
