import GenPool

/// The place of some device's memory BAR, to tell which ones lie at the same addresses.
package struct BARPlace: Hashable, Sendable {
  /// The device's name in sysfs.
  let device: String
  let bar: BAR.Index
  let range: AddressRange<PhysicalSpace>
}

extension DeviceTree {
  /// The places of all memory BARs that have one. Reads one file a device. The windows of bridges
  /// and what a physical function keeps for its virtual ones are no BARs. A device that comes or
  /// goes meanwhile, or whose file makes no sense, occupies nothing: the kernel's own always does.
  package func places() throws(DeviceError) -> [BARPlace] {
    try readings.places { () throws(DeviceError) in
      var places: [BARPlace] = []
      for name in try bus.entries() {
        guard let text = try? bus[name]["resource"].attribute(),
          let table = try? ResourceTable(text)
        else { continue }
        for (index, row) in zip(BAR.Index.allCases, table.rows) {
          guard let row, row.kind == .memory, let range = row.range else { continue }
          places.append(BARPlace(device: name, bar: index, range: range))
        }
      }
      return places
    }
  }
}
