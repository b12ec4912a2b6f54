import ArgumentParser
import DeviceDMA
import DeviceMemory
import DeviceOpener
import GenPool
import NVMe
import PCIDevices
import Reference

/// A page of DMA between two pages of poison: the page arrives whole, and the poison stays.
struct Arrival: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "arrival")

  @OptionGroup var options: ProofOptions

  private struct Facts: Encodable {
    let proof = "arrival"
    let initiator: String, memory: String, source: String, told: String
    /// Where the first page of poison starts.
    let physical: String?, bus: String?
  }

  func run() throws {
    let all = try options.driverMemory()
    let memory = try all.pool(of: options.memory)
    let driver = try options.driver(all)
    // What the controller says, come by way of the host's memory.
    let host = try all.pool(of: .host)
      .allocate(.kibibytes(4), for: .readData, by: options.initiator)
    _ = try driver.identify(into: host)
    let expected = try host.read(count: .kibibytes(4))

    let area = try memory.allocate(.kibibytes(12), for: .readData, by: options.initiator)
    var generator = SplitMix64(seed: options.seed)
    let poison = generator.bytes(12 << 10)
    try area.write(poison)
    let start = try driver.address(of: area)
    guard let middle = start.advanced(by: .kibibytes(4)) else {
      throw Disproof("\(start) is the end of all addresses")
    }
    try driver.execute(.identifyController, dataAt: middle)
    let found = try area.read(count: area.size)
    try expectSame(Array(found[..<4096]), poison[..<4096], "the page below")
    try expectSame(Array(found[4096..<8192]), expected, "the page")
    try expectSame(Array(found[8192...]), poison[8192...], "the page above")
    try driver.shutDown()
    try report(
      Facts(
        initiator: options.initiator.description, memory: options.memory.description,
        source: options.source.rawValue, told: middle.description,
        physical: area.allocation.physical?.description, bus: area.allocation.bus?.description))
  }
}
