import ArgumentParser
import DeviceDMA
import DeviceMemory
import DeviceOpener
import GenPool
import NVMe
import PCIDevices
import Reference
import SystemPackage

/// One command with a page of host memory and one of a controller memory buffer. The buffer's owner
/// refuses it; to another controller both are memory like any other.
struct Mixed: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "mixed")

  @OptionGroup var options: ProofOptions

  private struct Facts: Encodable {
    let proof = "mixed"
    let initiator: String, memory: String, source: String
    /// The status, when the controller refused.
    let status: String?
  }

  func run() throws {
    let all = try options.driverMemory()
    let memory = try all.pool(of: options.memory)
    let host = try all.pool(of: .host)
    let driver = try options.driver(all)
    let page = ByteCount.kibibytes(4)
    let one = try host.allocate(page, for: .readData, by: options.initiator)
    let other = try memory.allocate(page, for: .readData, by: options.initiator)
    let namespace = try driver.identify(1, into: one)
    guard let count = BlockCount(2 * 4096 / Int(namespace.identity.blockSize.rawValue)) else {
      throw Disproof("blocks of \(namespace.identity.blockSize)")
    }
    var generator = SplitMix64(seed: options.seed)
    let poison = generator.bytes(8192)
    try one.write(Array(poison[..<4096]))
    try other.write(Array(poison[4096...]))
    try driver.openQueues()
    var status: CommandStatus?
    do {
      try driver.move(.read, namespace, BlockAddress(0), count, [one, other])
    } catch {
      guard let refusal = (error as NVMeError).status else { throw error }
      status = refusal
    }
    let found = try one.read(count: page) + other.read(count: page)
    if status != nil {
      try expectSame(Array(found[4096...]), poison[4096...], "the page of a refused command")
    } else {
      // The same blocks by host memory alone.
      let both = try host.allocate(page * 2, for: .readData, by: options.initiator)
      try driver.move(.read, namespace, BlockAddress(0), count, [both])
      try expectSame(found, both.read(count: page * 2), "what was read into both")
      try expect(found != poison, "nothing arrived")
    }
    try driver.shutDown()
    try report(
      Facts(
        initiator: options.initiator.description, memory: options.memory.description,
        source: options.source.rawValue, status: status?.description))
  }
}
