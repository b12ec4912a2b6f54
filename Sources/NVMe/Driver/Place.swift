public import PCIDevices

/// Where something that a controller reaches lies.
public enum Place: Hashable, Sendable {
  /// The host's huge pages.
  case host
  /// A controller memory buffer.
  case buffer(PCIAddress)
  /// A persistent memory region, whose contents may be lost.
  case persistentRegion(PCIAddress)
  /// A whole BAR.
  case bar(PCIAddress, BAR.Index)
}

extension Place: LosslessStringConvertible {
  /// As people write it: `host`, `cmb:BDF`, `pmr:BDF,erase=yes`, `bar:BDF:N`. What is in a
  /// persistent memory region was meant to last: that it may be lost is said each time.
  public init?(_ description: String) {
    if description == "host" {
      self = .host
      return
    }
    guard let colon = description.firstIndex(of: ":") else { return nil }
    let rest = String(description[description.index(after: colon)...])
    switch description[..<colon] {
    case "cmb":
      guard let address = PCIAddress(rest) else { return nil }
      self = .buffer(address)
    case "pmr":
      guard rest.hasSuffix(Self.consent),
        let address = PCIAddress(String(rest.dropLast(Self.consent.count)))
      else { return nil }
      self = .persistentRegion(address)
    case "bar":
      guard let last = rest.lastIndex(of: ":"), let address = PCIAddress(String(rest[..<last])),
        let index = BAR.Index(String(rest[rest.index(after: last)...]))
      else { return nil }
      self = .bar(address, index)
    default: return nil
    }
  }

  public var description: String {
    switch self {
    case .host: "host"
    case .buffer(let address): "cmb:\(address)"
    case .persistentRegion(let address): "pmr:\(address)\(Self.consent)"
    case .bar(let address, let index): "bar:\(address):\(index)"
    }
  }

  private static let consent = ",erase=yes"
}
