import ArgumentParser
import DeviceDMA
import DeviceMemory
import DeviceOpener
import DeviceSources
import GenPool
import Glibc
import NVMe
import PCIDevices
import Reference

/// A page that is mapped for the initiator, between two that are not: DMA arrives by the page's IOVA, and
/// by no other number. Not behind the page, not by an IOVA that nobody ever got, not by the page's bus
/// address, and not by its own IOVA once it was freed and unmapped.
struct Unmapped: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "unmapped")

  @OptionGroup var options: ProofOptions

  private struct Facts: Encodable {
    let proof = "unmapped"
    let initiator: String, memory: String, source: String, told: String
    let bus: String
    /// What the IOMMU must have stopped.
    let faults: [String]
  }

  private static let page = ByteCount.kibibytes(4)

  func run() throws {
    let all = DriverMemory(
      initiator: options.initiator, source: .vfio, allowed: Set(options.allow))
    guard let source = try all.opener.source(.vfio) as? VFIOSource else {
      throw Disproof("the source of VFIO is another")
    }
    let memory = try all.pool(of: options.memory)
    let driver = try options.driver(all)
    let initiator = try source.initiator(at: options.initiator)
    let container = try source.device(at: options.initiator).group.container

    let area = try memory.allocate(Self.page * 3, for: .readData, by: options.initiator)
    var generator = SplitMix64(seed: options.seed)
    let poison = generator.bytes(12 << 10)
    try area.write(poison)
    let host = try all.pool(of: .host)
      .allocate(Self.page, for: .readData, by: options.initiator)
    _ = try driver.identify(into: host)
    let expected = try host.read(count: Self.page)

    // Freed and allocated again alone, the middle page has a life of its own.
    let start = area.allocation.start + Self.page
    try memory.pool.free(start, size: Self.page)
    let middle = try memory.pool.allocateDMA(
      Self.page, fit: .fixed(offset: start - memory.memories[0].region.region.mapping.start))
    try expect(middle.start == start, "the middle page is at \(middle.start), not at \(start)")
    var mapping: DMAMapping? = try dmaAddress(
      of: DMAMemory(middle, of: memory.pool), for: initiator)
    guard let address = mapping?.address, case .iova(let iova) = address, let bus = middle.bus,
      let behind = address.advanced(by: Self.page),
      let nowhere = address.advanced(by: .gibibytes(16))
    else { throw Disproof("no IOVA") }
    try expect(container.virtualAddress(of: iova + 5) == start + 5, "the IOVA leads elsewhere")
    try expect(iova.rawValue != bus.rawValue, "the IOVA is the bus address: nothing can be told")

    for stray in [behind, nowhere, .bus(bus)] {
      attempt(driver, stray)
      try expectSame(area.read(count: area.size), poison[...], "after DMA to \(stray)")
    }
    try driver.execute(.identifyController, dataAt: address)
    let arrived = poison[..<4096] + expected + poison[8192...]
    try expectSame(area.read(count: area.size), arrived, "after DMA to \(address)")

    mapping = nil
    try memory.pool.free(middle)
    try expect(container.virtualAddress(of: iova) == nil, "the IOVA still leads somewhere")
    try area.write(poison)
    // Linux says of three faults in 5 s what they were (`dmar_fault`), and the host wants to read of this.
    sleep(6)
    attempt(driver, address)
    try expectSame(area.read(count: area.size), poison[...], "after DMA to what was unmapped")

    // After all that the controller still does what it is told.
    let again = try memory.pool.allocateDMA(
      Self.page, fit: .fixed(offset: start - memory.memories[0].region.region.mapping.start))
    let last = try dmaAddress(of: DMAMemory(again, of: memory.pool), for: initiator)
    try driver.execute(.identifyController, dataAt: last.address)
    try expectSame(area.read(count: area.size), arrived, "after DMA to \(last.address)")
    try driver.shutDown()
    try report(
      Facts(
        initiator: options.initiator.description, memory: options.memory.description,
        source: options.source.rawValue, told: address.description, bus: bus.description,
        faults: [behind, nowhere, .bus(bus), address].map { $0.rawValue }.map { "\(IOVA($0))" }))
  }

  /// Has the controller write where it must not. What it says of that is its own business: some call it
  /// success.
  private func attempt(_ driver: Driver, _ address: DMAAddress) {
    try? driver.execute(.identifyController, dataAt: address)
  }
}
