import ArgumentParser
import DeviceDMA
import DeviceOpener
import GenPool
import NVMe
import PCIDevices

/// `genpool-nvme identify BDF`
struct Identify: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "identify",
    abstract: "Has a controller say what it is, into memory of your choice.",
    discussion: """
      Reads and writes no block. The answer comes by the controller's DMA into --data: getting it \
      proves that the controller reaches that memory.

      EXAMPLE
        genpool-nvme identify 01:00.0 --data 03:00.0:2
      """)

  @OptionGroup var options: SessionOptions

  func run() throws {
    let session = try Session(options)
    try session.whileOpen {
      let buffer = try session.allocate(.kibibytes(4), for: .readData)
      let identity = try session.driver.identify(into: buffer)
      let namespace: Namespace?
      do {
        namespace = try session.driver.identify(1, into: buffer)
      } catch NVMeError.unsupported {
        // There may be none, or one whose blocks this driver cannot move.
        namespace = nil
      }
      let document = try IdentityDocument(
        session.driver, identity, namespace, Placement(buffer, in: session, options.data))
      if options.json {
        try Streams.write(json: document)
      } else {
        try Streams.write(document.text)
      }
    }
  }
}

/// Where data lay, as `--json` shows it.
struct Placement: Encodable {
  let place: String
  let size: UInt64
  let physical: String?
  let bus: String?
  /// What the controller was told.
  let told: String

  init(_ buffer: DMABuffer, in session: Session, _ place: MemoryChoice) throws {
    self.place = place.description
    size = buffer.size.rawValue
    physical = buffer.allocation.physical?.description
    bus = buffer.allocation.bus?.description
    told = try session.driver.address(of: buffer).description
  }
}

/// A controller, as `--json` shows it.
private struct IdentityDocument: Encodable {
  let address: String, version: String, model: String, serial: String, firmware: String
  let vendorID: UInt16, subsystemVendorID: UInt16
  let namespaces: UInt32
  let largestTransfer: UInt64?
  let blocks: UInt64?, blockSize: UInt64?
  let data: Placement

  init(
    _ driver: Driver, _ identity: ControllerIdentity, _ namespace: Namespace?, _ data: Placement
  ) throws {
    address = driver.controller.address.description
    version = try driver.controller.state().version.description
    model = identity.model
    serial = identity.serial
    firmware = identity.firmware
    vendorID = identity.vendor
    subsystemVendorID = identity.subsystemVendor
    namespaces = identity.namespaces
    largestTransfer = identity.largestTransfer?.rawValue
    blocks = namespace?.identity.blocks
    blockSize = namespace?.identity.blockSize.rawValue
    self.data = data
  }

  var text: String {
    var lines = [
      "controller  \(address), NVMe \(version)",
      "model       \(model)",
      "serial      \(serial)",
      "firmware    \(firmware)",
      "namespaces  at most \(namespaces)",
    ]
    if let blocks, let blockSize {
      lines.append("namespace 1 \(blocks) blocks of \(blockSize) B")
    }
    if let largestTransfer { lines.append("transfer    at most \(ByteCount(largestTransfer))") }
    lines.append("data        came into \(data.place) at \(data.told)")
    return lines.joined(separator: "\n") + "\n"
  }
}
