import ArgumentParser
import BrokerProtocol
import GenPool
import GenPoolClient

/// `genpoolctl pool show NAME`
struct PoolShow: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Shows one pool: its facts, its free memory, and a map of it.",
    usage: "genpoolctl pool show <name> [<options>]",
    discussion: """
      In the map each character is a 64th of the pool: "." is free, "#" is leased or being zeroed, \
      ":" is some of both.

      "So far" is since the pool was attached; the peak is the most that was leased at once. "Failed" \
      are requests that were refused because the pool was full, or fragmented: enough was free, but not \
      in one piece, or not at the place or the alignment that was asked for. Quotas, other users and \
      queues are not among them.

      "Next user" is when another user may lease of a uid-exclusive pool: what the kernel can tell of its \
      source decides that. "Unseen" are processes that may still map its memory without the kernel telling.

      A pool that is waiting is not attached yet, because its memory is in use: "state" has the cause. It is \
      tried again, each second while an Acquire waits for it, else every 2 to 30 s.

      "In reach of" counts the live processes that were lent memory of the pool and may have its \
      descriptor still. "Free runs" are the pieces that the available memory lies in, none beside another. \
      "Fragmented" is 1 - largest / available: 0 % when one lease can have all of it, 75 % when it can have \
      a quarter. "Recorded" is the file that the pool's calls are written to (genpoold --record).
      """)

  @Argument(help: "The pool's name, as pool list shows it, or the start of it.")
  var name: String

  @OptionGroup var broker: BrokerOptions
  @OptionGroup var output: OutputOptions

  func run() throws {
    let connection = try broker.connect()
    let description = try connection.withPool(name) { name throws(ClientError) in
      try connection.describe(pool: name)
    }
    try output.write(description, text: Self.text(of: description))
  }

  static func text(of description: Broker1.DescribePool.Reply) -> String {
    let pool = description.pool
    guard pool.state != .waiting else { return text(ofWaiting: pool) }
    var sheet = FactSheet()
    sheet.add("pool", pool.name)
    sheet.add("memory", "BAR \(pool.bar) of \(pool.device), \(pool.size) from \(pool.offset.hex)")
    sheet.add("physical", pool.physical?.description)
    sheet.add("bus", pool.bus?.description)
    sheet.add("NUMA node", pool.numaNode.map(String.init))
    sheet.add("granule", pool.granule.description)
    sheet.add("caching", pool.caching)
    sheet.add("source", pool.sourceText)
    sheet.add("isolation", pool.isolation + (pool.exclusiveUid.map { ", for uid \($0) now" } ?? ""))
    sheet.add("next user", pool.handover, isProse: true)
    sheet.add("unseen", pool.unseen, isProse: true)
    sheet.add("for", pool.accessText, isProse: true)
    sheet.add("state", pool.state.rawValue + (pool.failure.map { ": \($0)" } ?? ""))
    sheet.add(
      "leases",
      "\(pool.leases), in reach of \(pool.holders) \(pool.holders == 1 ? "process" : "processes")")
    sheet.add("leased", pool.leased.description)
    sheet.add("so far", pool.statistics?.history)
    sheet.add("failed", pool.statistics?.failures)
    sheet.add("recorded", pool.recordText)
    sheet.add("zeroing", pool.dirty > .zero ? pool.dirty.description : nil)
    sheet.add("available", pool.available.description)
    sheet.add("free runs", freeRuns(of: description))
    sheet.add(
      "fragmented",
      pool.available > .zero ? "\(Int((100 * pool.fragmentation).rounded())) %" : nil)
    // Runs that are not listed are not known to be free: the map would show them as leased.
    if !description.moreFreeRuns { sheet.add("map", "[\(map(of: description))]") }
    return sheet.text
  }

  /// A pool that is not attached yet: what was asked for, why it waits, and what helps.
  private static func text(ofWaiting pool: Broker1.Pool) -> String {
    var sheet = FactSheet()
    sheet.add("pool", pool.name)
    // An NVMe controller's own memory is found by its registers, which were not read yet.
    let part = pool.bar < 0 ? "NVMe controller memory" : "BAR \(pool.bar)"
    let size = pool.size == .zero ? "" : ", \(pool.size) from \(pool.offset.hex)"
    sheet.add("memory", "\(part) of \(pool.device)\(size)")
    sheet.add("granule", pool.granule.description)
    sheet.add("source", pool.sourceText)
    sheet.add(
      "state", pool.state.rawValue + (pool.failure.map { ": \($0)" } ?? ""), isProse: true)
    sheet.add(
      "what helps",
      "end what uses the memory: it is attached then. As root, fuser and lsof "
        + "find processes, and genpoolctl lease holders \(pool.name) those of a BAR; genpoolctl pool "
        + "detach \(pool.name) gives it up", isProse: true)
    return sheet.text
  }

  private static func freeRuns(of description: Broker1.DescribePool.Reply) -> String {
    let runs = description.freeRuns
    guard let largest = runs.max(by: { $0.size < $1.size }) else { return "none" }
    guard !description.moreFreeRuns else {
      let count = description.pool.statistics.map { "\($0.freeRuns)" } ?? "more than \(runs.count)"
      return "\(count), the largest \(description.pool.largestFree)"
    }
    return "\(runs.count), the largest \(largest.size) at \(largest.offset.hex)"
  }

  /// The pool on one line.
  static func map(of description: Broker1.DescribePool.Reply) -> String {
    let size = description.pool.size.rawValue
    let cells = min(64, size / max(1, description.pool.granule.rawValue))
    var map = ""
    var runs = description.freeRuns[...]
    for cell in 0..<cells {
      let start = size / cells * cell + size % cells * cell / cells
      let end = size / cells * (cell + 1) + size % cells * (cell + 1) / cells
      while let run = runs.first, run.end <= start { runs.removeFirst() }
      let free = runs.prefix { $0.offset.rawValue < end }
        .map { min(end, $0.end) - min(end, max(start, $0.offset.rawValue)) }.reduce(0, +)
      map += free == 0 ? "#" : free == end - start ? "." : ":"
    }
    return map
  }
}

extension Broker1.Pool {
  /// How its memory was opened, and what that means for who holds it when the device is pulled out.
  fileprivate var sourceText: String? {
    guard let source else { return nil }
    switch removal {
    case "unnoticed": return source + ", removal goes unnoticed: mappings stay"
    case "waits": return source + ", removal waits until every process has let go"
    default: return source
    }
  }
}

extension Broker1.Pool {
  /// The users that may lease of it, and whether the caller may; nil for every client.
  fileprivate var accessText: String? {
    guard let access else { return nil }
    let members =
      access.users.map { "user \($0)" } + access.groups.map { "group \($0)" } + ["root and admins"]
    return members.joined(separator: ", ") + (mayLease == false ? "; not for you" : "")
  }

  /// Where its calls are written down, or why they are not any more.
  fileprivate var recordText: String? {
    let file = recordFile.map { "in \($0)" }
    guard let recordFailure else { return file }
    return "\(file ?? "no"): \(recordFailure)"
  }
}

extension Broker1.Statistics {
  fileprivate var history: String {
    "\(allocations) \(allocations == 1 ? "lease" : "leases"), \(frees) ended, peak \(peak)"
  }

  fileprivate var failures: String { "\(failedFull) full, \(failedFragmented) fragmented" }
}

extension Broker1.FreeRun {
  /// The offset after its last byte.
  fileprivate var end: UInt64 { offset.rawValue + size.rawValue }
}

extension ByteCount {
  /// `0x200000`: an offset, as people compare it with addresses.
  var hex: String { "0x" + hexadecimal(rawValue, digits: 1) }
}
