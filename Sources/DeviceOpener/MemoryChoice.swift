import OptionText
public import PCIDevices

/// The memory that a driver's buffers are allocated in.
public enum MemoryChoice: Hashable, Sendable {
  /// The host's huge pages.
  case host
  /// A device's memory. `mayErase`: what a persistent memory region keeps may be lost.
  case device(DeviceMemoryID, mayErase: Bool)
}

extension MemoryChoice: LosslessStringConvertible {
  /// Parses `host` and the text of a ``DeviceMemoryID``, with `,erase=yes` where contents that were
  /// meant to last may be lost. Nil for anything else, and for registers.
  public init?(_ description: String) {
    do throws(InvalidOptionText) {
      var options = try OptionText(description)
      if options.head == "host" {
        self = .host
      } else {
        let id = try DeviceMemoryID(&options)
        guard id.part != .registers else { return nil }
        self = .device(id, mayErase: try options.takeChoice("erase", ["yes": true]) ?? false)
      }
      try options.finish()
    } catch {
      return nil
    }
  }

  public var description: String {
    switch self {
    case .host: "host"
    case .device(let id, let mayErase): "\(id)\(mayErase ? ",erase=yes" : "")"
    }
  }
}
