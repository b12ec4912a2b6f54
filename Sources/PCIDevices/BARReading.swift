import GenPool

/// The BARs that a device's `resource` and configuration space tell of.
package struct BARReading {
  /// The BARs that were found, by index.
  package private(set) var bars: [BAR] = []
  /// The parts that could not be read, or make no sense.
  package private(set) var problems: [DeviceError]

  /// - Parameters:
  ///   - config: where bus addresses come from; nil when it is not to be believed.
  ///   - place: where `config` was read, for errors.
  ///   - hasOwnRegisters: whether the device's BAR registers say where it answers, as those of
  ///     virtual functions do not.
  ///   - windows: those of the bridge above, for what the registers do not say.
  ///   - hasFile: whether the device's directory has a file of that name.
  package init(
    of table: ResourceTable, _ config: ConfigSpace?, readAt place: String, hasOwnRegisters: Bool,
    windows: () -> [BridgeWindow], hasFile: (String) throws(DeviceError) -> Bool
  ) throws(DeviceError) {
    problems = table.problems
    var known: [BridgeWindow]?
    func windowsOnce() -> [BridgeWindow] {
      let found = known ?? windows()
      known = found
      return found
    }
    for (index, row) in zip(BAR.Index.allCases, table.rows) {
      guard let row else { continue }
      bars.append(
        BAR(
          index: index, kind: row.kind, size: row.size,
          physical: row.kind == .memory ? row.range : nil,
          bus: bus(
            index, row, config, readAt: place, hasOwnRegisters: hasOwnRegisters,
            windows: windowsOnce),
          isPrefetchable: row.isPrefetchable, is64Bit: row.is64Bit,
          hasResourceFile: try hasFile("resource\(index)"),
          hasWriteCombiningFile: try hasFile("resource\(index)_wc")))
    }
  }

  /// The bus address of a BAR, nil where nothing tells it: it is never guessed.
  private mutating func bus(
    _ index: BAR.Index, _ row: ResourceTable.Row, _ config: ConfigSpace?, readAt place: String,
    hasOwnRegisters: Bool, windows: () -> [BridgeWindow]
  ) -> BusAddress? {
    guard row.kind == .memory, let physical = row.range, let config else { return nil }
    guard hasOwnRegisters, !row.isEnhancedAllocation else {
      return windows().lazy.compactMap { $0.bus(of: physical) }.first
    }
    guard let register = config[index], !register.isIO, register.is64Bit == row.is64Bit else {
      return nil
    }
    guard let range = AddressRange(start: register.bus, size: row.size) else {
      problems.append(
        .malformed(
          place: place,
          problem:
            "BAR \(index) holds \(register.bus); \(row.size) from there pass the end of the bus"))
      return nil
    }
    // A register may have been reset, to 0, or be an old one: below a bridge only what one of its
    // windows leads to is an address, 0 too.
    let windows = windows()
    if let other = windows.lazy.compactMap({ $0.bus(of: physical) }).first {
      return other == register.bus ? other : nil
    }
    return windows.isEmpty || windows.contains { $0.contains(range) } ? register.bus : nil
  }
}
