import GenPool

/// The place of some device's memory BAR or expansion ROM, to tell which ones lie at the same
/// addresses.
package struct BARPlace: Hashable, Sendable {
  /// The device's name in sysfs.
  let device: String
  /// Its row in `resource`: up to 5 a BAR's number, then the expansion ROM's.
  let row: Int
  let range: AddressRange<PhysicalSpace>

  /// `BAR 2`, `the expansion ROM`.
  var part: String { row < ResourceTable.romRow ? "BAR \(row)" : "the expansion ROM" }
}

extension DeviceTree {
  /// The places of all memory BARs and expansion ROMs that have one. Reads one file a device. The
  /// windows of bridges and what a physical function keeps for its virtual ones are neither. A row
  /// that makes no sense occupies what it names; a device that comes or goes meanwhile nothing.
  package func places() throws(DeviceError) -> [BARPlace] {
    try readings.places { () throws(DeviceError) in
      var places: [BARPlace] = []
      for name in try bus.entries() {
        guard let text = try? bus[name]["resource"].attribute(),
          let table = try? ResourceTable(text)
        else { continue }
        for one in table.occupied {
          places.append(BARPlace(device: name, row: one.row, range: one.range))
        }
      }
      return places
    }
  }
}
