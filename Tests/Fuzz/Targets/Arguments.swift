import BrokerProtocol
import DeviceEmulation
import GenPool
import PCIDevices

extension FuzzTarget {
  /// A word of a command line: a size, an address, a device, or a specification of some.
  ///
  /// What is accepted prints as something that is read as the same.
  static let arguments = FuzzTarget(name: "arguments") { bytes in
    let text = String(decoding: bytes, as: UTF8.self)
    if let size = check(text, ByteCount.self) {
      // In decimal, that is, for the rest is a unit.
      let count = UInt64(text.prefix { $0.isASCII && $0.isNumber }) ?? 0
      precondition(size.rawValue >= count, "a unit makes it no less")
    }
    check(text, PhysicalAddress.self)
    if let address = check(text, PCIAddress.self) {
      let fields = text.lowercased().split(separator: ":")
      let domain = fields.count == 3 ? UInt64(fields[0], radix: 16) : 0
      precondition(domain == UInt64(address.domain), "a domain is read whole")
      precondition(address.description.hasSuffix(":" + fields.suffix(2).joined(separator: ":")))
    }
    check(text, DeviceIdentity.self)
    check(text, BAR.Index.self)
    check(text, BusOffset.self)
    do throws(InvalidSpecification) {
      check(text, try Broker1.Attach.Parameters(specification: text))
    } catch {
      precondition(error.description.utf8.starts(with: "attach ".utf8), "an error says of what")
    }
    do throws(EmulationError) {
      let device = try EmulatedDevice.parse(text)
      precondition(text.utf8.allSatisfy { $0 < 0x80 }, "nothing but ASCII has a meaning")
      precondition(!device.bars.isEmpty && device.bars.allSatisfy(\.size.isPowerOfTwo))
    } catch {
      precondition(!error.description.isEmpty, "an error says something")
    }
  }

  @discardableResult
  private static func check<Value: LosslessStringConvertible & Equatable>(
    _ text: String, _ type: Value.Type
  ) -> Value? {
    guard let value = Value(text) else { return nil }
    precondition(text.utf8.allSatisfy { $0 < 0x80 }, "nothing but ASCII has a meaning")
    precondition(Value(value.description) == value, "what is printed can be read")
    return value
  }

  /// Writes the specification `text`, read as `piece`, anew.
  private static func check(_ original: String, _ piece: Broker1.Attach.Parameters) {
    precondition((piece.bar == nil) != (piece.memory == nil), "a BAR or a memory, and not both")
    precondition(0...5 ~= piece.bar ?? 0, "a BAR has a number from 0 to 5")
    var text = "\(piece.device):\(piece.bar.map(String.init) ?? piece.memory ?? "")"
    // 01:00.0:bar0 is 0000:01:00.0:0.
    let place = String(decoding: original.utf8.prefix { $0 != UInt8(ascii: ",") }, as: UTF8.self)
    precondition(DeviceMemoryID(place)?.description == text, "a place is what its name says")
    for (key, size) in [("offset", piece.offset), ("size", piece.size), ("granule", piece.granule)]
    {
      if let size { text += ",\(key)=\(size)" }
    }
    if let name = piece.name { text += ",name=" + name }
    if let allow = piece.allow { text += ",allow=" + allow.joined(separator: "+") }
    if let source = piece.source { text += ",source=" + source }
    if piece.erase == true { text += ",erase=yes" }
    do throws(InvalidSpecification) {
      let again = try Broker1.Attach.Parameters(specification: text)
      precondition(again == piece, "a specification says the same when it is written anew")
    } catch {
      preconditionFailure("what was read can be written: \(error)")
    }
  }
}
