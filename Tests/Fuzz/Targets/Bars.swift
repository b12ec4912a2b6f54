import GenPool
import PCIDevices

extension FuzzTarget {
  /// A `resource` file, a NUL and a `config` file: the BARs of a device.
  ///
  /// Ranges stay inside of their address spaces, and a table that is accepted says the same when it is
  /// printed as the kernel prints it.
  static let bars = FuzzTarget(name: "bars") { bytes in
    let text = Array(bytes.prefix { $0 != 0 })
    let config = ConfigSpace(Array(bytes.dropFirst(text.count + 1)))
    precondition((config == nil) == (bytes.count <= text.count + 64), "a header has 64 bytes")
    if let config { check(config) }
    do throws(DeviceError) {
      let table = try ResourceTable(AttributeText(text, at: "resource"))
      let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      for (number, (line, row)) in zip(lines, table.rows).enumerated() {
        let isOdd = table.problems.contains { "\($0)".contains("resource:\(number + 1):") }
        precondition(!isOdd || row == nil, "a row that makes no sense is left out")
        if !isOdd { check(row, line) }
      }
      let reading = try BARReading(
        of: table, config, readAt: "config", hasOwnRegisters: true, windows: { [] },
        hasFile: { $0.hasSuffix("_wc") })
      precondition(reading.bars.count == table.rows.count { $0 != nil })
      for bar in reading.bars { check(bar, table, config) }
    } catch {
      precondition(error.description.contains("resource") || error.description.contains("config"))
    }
  }

  /// Checks a row against what its numbers say, read in another way.
  private static func check(_ row: ResourceTable.Row?, _ line: ArraySlice<UInt8>) {
    let numbers = line.split(separator: UInt8(ascii: " ")).map { field in
      UInt64(String(decoding: field.dropFirst(2), as: UTF8.self), radix: 16)
    }
    guard numbers.count == 3, let start = numbers[0], let end = numbers[1], let flags = numbers[2]
    else { preconditionFailure("a row is three numbers") }
    guard let row else {
      precondition(flags & 0x300 == 0 && start == 0 && end == 0, "no BAR, no range")
      return
    }
    precondition(row.kind == (flags & 0x100 != 0 ? .io : .memory), "the kind is in the flags")
    precondition(start <= end && end < .max, "a size can be counted")
    precondition(row.size.rawValue == (end == 0 ? 0 : end &- start &+ 1), "the end is included")
    if let range = row.range {
      precondition(range.first.rawValue == start && range.last.rawValue == end)
      precondition(range.size == row.size)
    }
  }

  private static func check(_ config: ConfigSpace) {
    _ = (config.identity.description, config.command, config.isAllOnes)
    let room = [6, 2, 1]
    for index in BAR.Index.allCases {
      guard let register = config[index] else { continue }
      precondition(config.headerType < room.count, "other layouts have no BARs")
      let last = index.rawValue + (register.is64Bit ? 1 : 0)
      precondition(last < room[Int(config.headerType)], "a BAR lies in the layout's registers")
      precondition(register.is64Bit || register.bus.rawValue <= UInt64(UInt32.max), "32 bits")
      precondition(register.bus.isAligned(to: register.isIO ? 4 : 16), "flags are no address bits")
    }
  }

  private static func check(_ bar: BAR, _ table: ResourceTable, _ config: ConfigSpace?) {
    precondition(bar.description.hasPrefix("BAR \(bar.index) ["))
    precondition(bar.hasWriteCombiningFile && !bar.hasResourceFile)
    if let physical = bar.physical {
      precondition(bar.kind == .memory && physical.size == bar.size)
    }
    if let bus = bar.bus {
      precondition(bar.physical != nil && config?[bar.index]?.bus == bus)
      precondition(AddressRange(start: bus, size: bar.size) != nil, "a BAR ends on its bus")
    }
  }
}
