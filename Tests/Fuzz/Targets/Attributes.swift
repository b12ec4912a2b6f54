import GenPool
import PCIDevices

extension FuzzTarget {
  /// A text attribute after its name and a line's end: `numa_node`, then what the file says.
  ///
  /// What is accepted says the same when the kernel prints it.
  static let attributes = FuzzTarget(name: "attributes") { bytes in
    let name = bytes.prefix { $0 != UInt8(ascii: "\n") }
    let content = Array(bytes.dropFirst(name.count + 1))
    do throws(DeviceError) {
      let text = try AttributeText(content, at: "file")
      precondition(content.count <= AttributeText.limit, "no attribute is longer")
      try check(text, named: String(decoding: name, as: UTF8.self))
    } catch {
      // The error of a file of any content fits on a line of a log.
      let description = error.description
      precondition(description.hasPrefix("read file"), "an error says of what")
      precondition(description.utf8.count < 1000, "an error is short")
      let isPrintable = description.unicodeScalars.allSatisfy {
        $0.value >= 0x20 && $0.value != 0x7f
      }
      precondition(isPrintable, "no file steers a terminal")
    }
  }

  private static func check(_ text: AttributeText, named name: String) throws(DeviceError) {
    switch name {
    case "vendor":
      let printed = "0x" + hexadecimal(UInt64(try text.word()), digits: 4)
      try same(text, printed) { text throws(DeviceError) in try text.word() }
    case "revision":
      let printed = "0x" + hexadecimal(UInt64(try text.byte()), digits: 2)
      try same(text, printed) { text throws(DeviceError) in try text.byte() }
    case "class":
      let printed = try text.classCode().description
      try same(text, printed) { text throws(DeviceError) in try text.classCode() }
    case "numa_node":
      let printed = try text.numaNode().map { String($0.rawValue) } ?? "-1"
      try same(text, printed) { text throws(DeviceError) in try text.numaNode() }
    case "power_state": try isExactly(text, text.powerState().rawValue)
    case "boot_vga": try isExactly(text, text.isBootVGA() ? "1" : "0")
    case "removable":
      guard try !text.isRemovable() else { return isExactly(text, "removable") }
      precondition(["fixed", "unknown"].contains(text.lines.first))
    case "lockdown":
      let state = try Lockdown(text)
      precondition(text.lines.first?.contains("[\(state.rawValue)]") == true)
    default:
      let slot = try HotplugSlot(name: name, address: text)
      let fields = text.lines[0].split(separator: ":")
      // A slot holds the devices at the bus that it names, and no others.
      for device in ["00", "1f"] {
        for bus in [String(fields[1]), "fe"] {
          guard let address = PCIAddress("\(fields[0]):\(bus):\(device).7") else {
            preconditionFailure("a slot's address is an address")
          }
          let isIn =
            UInt8(bus, radix: 16) == UInt8(fields[1], radix: 16)
            && (fields.count == 2 || UInt8(device, radix: 16) == UInt8(fields[2], radix: 16))
          precondition(slot.contains(address) == isIn, "a slot holds its own devices")
        }
      }
    }
  }

  /// `printed` is read as the same value as `text`.
  private static func same<Value: Equatable>(
    _ text: AttributeText, _ printed: String,
    _ read: (AttributeText) throws(DeviceError) -> Value
  ) throws(DeviceError) {
    let value = try read(text)
    let again = try read(AttributeText(Array(printed.utf8) + [10], at: "file"))
    precondition(again == value, "what was read is read again as it is printed")
  }

  private static func isExactly(_ text: AttributeText, _ word: String) {
    precondition(
      text.lines.map { Array($0.utf8) } == [Array(word.utf8)], "no other spelling passes")
  }
}
