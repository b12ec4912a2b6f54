public import ArgumentParser
public import PCIDevices

/// Where something lies, as the command line says it.
enum Place: Hashable {
  /// The host's huge pages.
  case host
  /// A controller memory buffer.
  case buffer(PCIAddress)
  /// A persistent memory region, whose contents may be lost.
  case persistentRegion(PCIAddress)
  /// A whole BAR.
  case bar(PCIAddress, BAR.Index)
}

extension Place: ExpressibleByArgument {
  init?(argument: String) {
    if argument == "host" {
      self = .host
      return
    }
    guard let colon = argument.firstIndex(of: ":") else { return nil }
    let rest = String(argument[argument.index(after: colon)...])
    switch argument[..<colon] {
    case "cmb":
      guard let address = PCIAddress(rest) else { return nil }
      self = .buffer(address)
    case "pmr":
      // Said in full, each time: what is in such memory was meant to last.
      let consent = ",erase=yes"
      guard rest.hasSuffix(consent), let address = PCIAddress(String(rest.dropLast(consent.count)))
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

  var defaultValueDescription: String { description }
}

extension Place: CustomStringConvertible {
  var description: String {
    switch self {
    case .host: "host"
    case .buffer(let address): "cmb:\(address)"
    case .persistentRegion(let address): "pmr:\(address),erase=yes"
    case .bar(let address, let index): "bar:\(address):\(index)"
    }
  }
}

extension PCIAddress: ExpressibleByArgument {}
