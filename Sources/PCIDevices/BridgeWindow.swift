import GenPool

/// A memory window of a bridge, as the CPU and as the bus behind it see it. Bridges change no
/// address; host bridges do, and the kernel takes each window of a bridge from one window of the
/// host's. So the distance between both addresses is the same in all of it.
package struct BridgeWindow {
  private let physical: AddressRange<PhysicalSpace>
  private let bus: BusAddress

  /// The windows of the bridge that `node`, a device's directory, lies in; none for a device on a
  /// host bridge's own bus, and of a bridge whose files do not agree.
  static func all(above node: SysfsNode, under root: SysfsRoot) -> [BridgeWindow] {
    guard let target = try? node.linkComponents(),
      let bridge = target.dropLast().last.flatMap({ PCIAddress(String($0)) })
    else { return [] }
    let directory = root["bus/pci/devices"][bridge.description]
    guard let bytes = try? directory["config"].bytes(limit: ConfigSpace.headerLength),
      let config = ConfigSpace(bytes), !config.isAllOnes,
      let text = try? directory["resource"].attribute(), let table = try? ResourceTable(text)
    else { return [] }
    return [(table.window, false), (table.prefetchableWindow, true)].compactMap {
      row, isPrefetchable in
      guard let row, row.kind == .memory, let physical = row.range,
        let window = config.window(isPrefetchable: isPrefetchable), window.size == physical.size
      else { return nil }
      return BridgeWindow(physical: physical, bus: window.first)
    }
  }

  /// Whether all of a range of bus addresses lies in the window.
  func contains(_ range: AddressRange<BusSpace>) -> Bool {
    AddressRange(start: bus, size: physical.size)?.contains(range) ?? false
  }

  /// The bus address of a range of physical addresses; nil unless all of it lies in the window.
  func bus(of range: AddressRange<PhysicalSpace>) -> BusAddress? {
    guard range.first >= physical.first, range.last <= physical.last else { return nil }
    return bus.advanced(by: ByteCount(range.first.rawValue - physical.first.rawValue))
  }
}
