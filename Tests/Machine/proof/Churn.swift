import ArgumentParser
import DeviceDMA
import DeviceMemory
import DeviceOpener
import GenPool
import NVMe
import PCIDevices
import Reference
import SystemPackage

/// Submission queue, PRP lists and data together in one pool at 4 KiB grain: allocated, used by reads of
/// known blocks, and freed in random order, many times over. What is still allocated keeps what was read
/// into it, whatever its neighbours become.
struct Churn: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "churn")

  @OptionGroup var options: ProofOptions

  @Option(help: "How often.")
  var rounds: Int

  @Option(help: "A file with what the first blocks of the initiator's namespace hold.")
  var content: String

  private struct Facts: Encodable {
    let proof = "churn"
    let initiator: String, memory: String, source: String
    let rounds: Int
    var buffers = 0, lists = 0, queues = 0, pages = 0
  }

  /// A buffer that is allocated, and what was read into it.
  private struct Held {
    let buffer: DMABuffer
    let content: ArraySlice<UInt8>
  }

  private static let page = 4096
  private static let mostPages = 6
  private static let mostHeld = 12

  func run() throws {
    let content = try read()
    let all = try options.driverMemory()
    let memory = try all.pool(of: options.memory)
    let driver = try options.driver(all)
    driver.memory.submissions = memory
    driver.memory.lists = memory
    let host = try all.pool(of: .host)
      .allocate(.kibibytes(4), for: .readData, by: options.initiator)
    let namespace = try driver.identify(1, into: host)
    let blocksOfPage = Self.page / Int(namespace.identity.blockSize.rawValue)

    var facts = Facts(
      initiator: options.initiator.description, memory: options.memory.description,
      source: options.source.rawValue, rounds: rounds)
    var generator = SplitMix64(seed: options.seed)
    var held: [Held] = []
    for _ in 0..<rounds {
      // The queue's page goes back and comes from somewhere else.
      if Int.random(in: 0..<4, using: &generator) == 0 { try driver.closeQueues() }
      if !driver.hasQueues {
        try driver.openQueues()
        facts.queues += 1
      }
      let pages = Int.random(in: 1...Self.mostPages, using: &generator)
      let first = Int.random(in: 0...(content.count / Self.page - pages), using: &generator)
      let new = try allocate(pages, in: memory, from: content[(first * Self.page)...], &generator)
      for one in new { try one.buffer.write(generator.bytes(one.content.count)) }
      guard let count = BlockCount(pages * blocksOfPage) else { throw Disproof("no blocks") }
      try driver.move(
        .read, namespace, BlockAddress(UInt64(first * blocksOfPage)), count, new.map(\.buffer))
      facts.buffers += new.count
      facts.pages += pages
      facts.lists += pages > 2 ? 1 : 0
      for one in new { try check(one, "what was read") }
      held += new
      while held.count > Int.random(in: 0...Self.mostHeld, using: &generator) {
        try free(held.remove(at: held.indices.randomElement(using: &generator) ?? 0), memory)
      }
    }
    for one in held { try free(one, memory) }
    try driver.shutDown()
    try expect(
      memory.pool.available == memory.pool.size,
      "\(memory.pool.available) of \(memory.pool.size) are available with everything freed")
    try expect(memory.pool.largestFreeRun == memory.pool.size, "not all that is free is one run")
    try report(facts)
  }

  /// Buffers of `pages` pages in all, cut up at random.
  private func allocate(
    _ pages: Int, in memory: BufferPool, from content: ArraySlice<UInt8>,
    _ generator: inout SplitMix64
  ) throws -> [Held] {
    var new: [Held] = []
    var left = content.prefix(pages * Self.page)
    while !left.isEmpty {
      let part = Int.random(in: 1...(left.count / Self.page), using: &generator) * Self.page
      let buffer = try memory.allocate(
        ByteCount(part), for: .readData, by: options.initiator)
      new.append(Held(buffer: buffer, content: left.prefix(part)))
      left = left.dropFirst(part)
    }
    return new
  }

  private func free(_ one: Held, _ memory: BufferPool) throws {
    try check(one, "what was still allocated")
    try memory.free(one.buffer)
  }

  private func check(_ one: Held, _ what: String) throws {
    try expectSame(
      one.buffer.read(count: one.buffer.size), one.content,
      "\(what), at \(one.buffer.allocation.start)")
  }

  private func read() throws -> [UInt8] {
    let file = try FileDescriptor.open(FilePath(content), .readOnly)
    return try file.closeAfter {
      var bytes: [UInt8] = []
      var part = [UInt8](repeating: 0, count: 1 << 16)
      while true {
        let count = try unsafe part.withUnsafeMutableBytes { try unsafe file.read(into: $0) }
        guard count > 0 else { break }
        bytes += part[..<count]
      }
      try expect(
        bytes.count >= Self.mostPages * Self.page && bytes.count % Self.page == 0,
        "\(content) has \(bytes.count) bytes")
      return bytes
    }
  }
}
