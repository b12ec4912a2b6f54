import GenPool
import LinuxSystem
import PCIDevices

// What all sources do before they open anything.

extension [AttachRule] {
  /// The device that `request` names, and every rule that refuses it.
  func check(
    _ request: BARRequest, in tree: DeviceTree
  ) throws(DeviceError) -> (device: Device, refusals: [AttachRule.Refusal]) {
    let known = filter(\.canBeAllowed).map(\.name)
    if let name = request.allowed.sorted().first(where: { !known.contains($0) }) {
      throw .invalid(
        subject: "\(request)",
        problem: "allow=\(name) is not possible; only \(known.joined(separator: ", "))")
    }
    let device = try tree.device(at: request.device)
    let subject = try AttachRule.Subject(request, of: device, in: tree)
    return (device, AttachRule.refusals(of: subject, under: self))
  }
}

extension BARRequest {
  /// How much of `bar` is asked for: whole pages, inside of it.
  func size(in bar: BAR) throws(DeviceError) -> ByteCount {
    func invalid(_ problem: String) -> DeviceError {
      .invalid(subject: "\(self)", problem: problem)
    }
    let page = ByteCount(pageSize)
    guard offset.isMultiple(of: page) else {
      throw invalid("offset \(offset) is not a multiple of the page size, \(page)")
    }
    guard offset < bar.size else {
      throw invalid("offset \(offset) lies past the BAR's end, at \(bar.size)")
    }
    let size = size ?? bar.size - offset
    guard size > .zero else { throw invalid("a size of 0 bytes") }
    guard size.isMultiple(of: page) else {
      throw invalid("size \(size) is not a multiple of the page size, \(page)")
    }
    guard size <= bar.size - offset else {
      throw invalid("\(size) from offset \(offset) pass the BAR's end, at \(bar.size)")
    }
    return size
  }
}
