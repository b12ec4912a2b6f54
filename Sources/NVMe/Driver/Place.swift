import OptionText
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
    guard var options = try? OptionText(description), let place = Self.read(&options),
      (try? options.finish()) != nil
    else { return nil }
    self = place
  }

  private static func read(_ options: inout OptionText) -> Self? {
    if options.head == "host" { return .host }
    guard let colon = options.head.firstIndex(of: ":") else { return nil }
    let rest = String(options.head[options.head.index(after: colon)...])
    switch options.head[..<colon] {
    case "cmb":
      return PCIAddress(rest).map(Self.buffer)
    case "pmr":
      guard (try? options.takeChoice("erase", ["yes": true])) == true else { return nil }
      return PCIAddress(rest).map(Self.persistentRegion)
    case "bar":
      guard let last = rest.lastIndex(of: ":"), let address = PCIAddress(String(rest[..<last])),
        let index = BAR.Index(String(rest[rest.index(after: last)...]))
      else { return nil }
      return .bar(address, index)
    default: return nil
    }
  }

  public var description: String {
    switch self {
    case .host: "host"
    case .buffer(let address): "cmb:\(address)"
    case .persistentRegion(let address): "pmr:\(address),erase=yes"
    case .bar(let address, let index): "bar:\(address):\(index)"
    }
  }
}
