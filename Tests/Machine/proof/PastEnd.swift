import ArgumentParser
import DeviceDMA
import DeviceMemory
import DeviceOpener
import GenPool
import NVMe
import PCIDevices
import Reference

/// DMA one page past the end of memory, to an address that genpool never gives: the status says success,
/// nothing of the memory changes, and what lies behind it, if anything, is overwritten.
struct PastEnd: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "past-end")

  @OptionGroup var options: ProofOptions

  @Option(help: "Memory that starts where the other ends.")
  var neighbour: MemoryChoice

  private struct Facts: Encodable {
    let proof = "past-end"
    let initiator: String, memory: String, source: String, told: String
    /// Where the neighbour starts, whose first page of two is overwritten.
    let physical: String?
  }

  func run() throws {
    let all = try options.driverMemory()
    let memory = try all.pool(of: options.memory)
    let behind = try all.pool(of: neighbour)
    let driver = try options.driver(all)
    let host = try all.pool(of: .host)
      .allocate(.kibibytes(4), for: .readData, by: options.initiator)
    _ = try driver.identify(into: host)
    let expected = try host.read(count: .kibibytes(4))

    let page = ByteCount.kibibytes(4)
    let allocation = try memory.pool.allocateDMA(
      page, fit: .fixed(offset: memory.pool.size - page))
    guard let last = memory.buffer(allocation) else { throw Disproof("no last page") }
    let first = try behind.allocate(page * 2, for: .readData, by: options.initiator)
    var generator = SplitMix64(seed: options.seed)
    let (lastPoison, firstPoison) = (generator.bytes(4096), generator.bytes(8192))
    try last.write(lastPoison)
    try first.write(firstPoison)

    let end = try driver.address(of: last).advanced(by: page)
    guard let end, end == (try driver.address(of: first)) else {
      throw Disproof("\(neighbour) does not start where \(options.memory) ends")
    }
    try driver.execute(.identifyController, dataAt: end)
    try expectSame(last.read(count: page), lastPoison, "the last page of the memory")
    let found = try first.read(count: first.size)
    try expectSame(Array(found[..<4096]), expected, "the neighbour's first page")
    try expectSame(Array(found[4096...]), firstPoison[4096...], "the neighbour's second page")
    try driver.shutDown()
    try report(
      Facts(
        initiator: options.initiator.description, memory: options.memory.description,
        source: options.source.rawValue, told: end.description,
        physical: first.allocation.physical?.description))
  }
}
