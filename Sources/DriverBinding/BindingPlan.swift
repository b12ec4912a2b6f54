public import PCIDevices

/// What binding a device to another driver takes, or unbinding it again; found out without changing
/// anything.
public struct BindingPlan: Hashable, Sendable {
  /// The device that was named.
  public let device: Device
  /// What keeps it from being done; empty when it can be.
  public let refusals: [AttachRule.Refusal]
  /// What becomes of each member of the device's IOMMU group, itself included; only itself without
  /// one.
  public let members: [Member]
  /// What is done, in order. Empty when all is as wanted already.
  public let steps: [Step]

  /// A member of the group.
  public struct Member: Hashable, Sendable {
    /// Its name on its bus, an address for PCI devices.
    public let name: String
    /// Its driver now.
    public let driver: String?
    /// What becomes of it.
    public let role: Role
  }

  /// What becomes of a member of the group.
  public enum Role: String, Hashable, Sendable, CaseIterable {
    /// It gets the driver, or is given back.
    case changes = "changes"
    /// It has it already.
    case ready = "ready"
    /// It may stay as it is: without a driver, a bridge, or only occupied.
    case harmless = "harmless"
    /// Its driver keeps the group from being used.
    case inTheWay = "in-the-way"
  }

  /// One thing that is done to one device.
  public enum Step: Hashable, Sendable {
    /// Keeps in mind what is there now, for the way back; not when it is bound already.
    case remember(PCIAddress, BindingRecord)
    /// `text` is written to `file`, a path below the sysfs root.
    case write(PCIAddress, text: String, file: String)
    /// The driver has to be this one by now; nil for none.
    case expect(PCIAddress, driver: String?)
    /// The way back has been gone.
    case forget(PCIAddress)

    var device: PCIAddress {
      switch self {
      case .remember(let device, _), .write(let device, _, _), .expect(let device, _),
        .forget(let device):
        device
      }
    }
  }
}

extension BindingPlan.Step: CustomStringConvertible {
  /// As a shell would do it, where a shell could.
  public var description: String {
    switch self {
    case .remember(let device, let record):
      "# remember \(record) of \(device), if it is not bound yet"
    case .write(_, let text, let file): "echo '\(text)' > /sys/\(file)"
    case .expect(let device, let driver): "# \(device) has driver \(driver ?? "none") now"
    case .forget(let device): "# forget what \(device) had"
    }
  }
}
