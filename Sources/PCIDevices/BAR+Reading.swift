import GenPool

extension BAR {
  /// The BARs that a device's `resource` and configuration space tell of, by index.
  /// - Parameters:
  ///   - config: where bus addresses come from; nil when it is not to be believed.
  ///   - place: where `config` was read, for errors.
  ///   - hasFile: whether the device's directory has a file of that name.
  package static func all(
    in table: ResourceTable, _ config: ConfigSpace?, readAt place: String,
    hasFile: (String) throws(DeviceError) -> Bool
  ) throws(DeviceError) -> [BAR] {
    var bars: [BAR] = []
    for (index, row) in zip(BAR.Index.allCases, table.rows) {
      guard let row else { continue }
      bars.append(
        BAR(
          index: index, kind: row.kind, size: row.size,
          physical: row.kind == .memory ? row.range : nil,
          bus: try bus(index, row, config, readAt: place),
          isPrefetchable: row.isPrefetchable, is64Bit: row.is64Bit,
          hasResourceFile: try hasFile("resource\(index)"),
          hasWriteCombiningFile: try hasFile("resource\(index)_wc")))
    }
    return bars
  }

  private static func bus(
    _ index: BAR.Index, _ row: ResourceTable.Row, _ config: ConfigSpace?, readAt place: String
  ) throws(DeviceError) -> BusAddress? {
    guard row.kind == .memory, row.range != nil, let register = config?[index], !register.isIO
    else { return nil }
    guard AddressRange(start: register.bus, size: row.size) != nil else {
      throw .malformed(
        place: place,
        problem:
          "BAR \(index) holds \(register.bus); \(row.size) from there pass the end of the bus")
    }
    return register.bus
  }
}
