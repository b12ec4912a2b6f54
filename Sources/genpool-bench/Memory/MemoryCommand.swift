import ArgumentParser
import GenPool

/// `genpool-bench memory`: what a chunk and its index take, and how long they take to make.
struct MemoryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "memory",
    abstract:
      "Shows the memory of bitmap and index, and the time to make a chunk.",
    discussion: """
      First of chunks of few and of many granules, which have nothing allocated: "heap" is what malloc \
      gives, "resident" what the process has more. "in use": after 1000 allocations all over the chunk; \
      "gone": when the pools have ended. Then of the index of pools in use. \
      A fit's part of the index is made when it is first asked for. "all fits" has an alignment of 4 \
      granules, every order alignment up to 16 granules, and best fit. "first use" is the time of the \
      first allocation with that fit, in a pool that is half full of runs of one granule.
      """)

  @Flag(help: "Print a JSON array, an object for each row.")
  var json = false

  @Flag(help: "Measure new chunks only.")
  var chunksOnly = false

  func run() throws {
    let machine = Machine()
    // Before the others, whose memory malloc may keep.
    let chunks = try [64, 16 << 10, 1 << 28, 1 << 34].map { try ChunkRow($0) }
    var rows: [Row] = []
    for granules in chunksOnly ? [] : [16 << 10, 4 << 20, 16 << 20] {
      let shape = PoolShape(name: "memory", chunks: 1, granules: granules, granuleOrder: 12)
      let start = nanoseconds()
      let subject = try GenPoolSubject(shape, .first)
      let creation = nanoseconds() - start
      rows.append(Row(granules, "first", subject, creation))
      guard subject.allocate(granules, at: .max) != nil else { throw BenchError.placementDiffers }
      for first in stride(from: 0, to: granules, by: 2) { subject.free(UInt64(first), 1) }
      let firstUse = nanoseconds()
      for fit in [Fit.firstAligned(ByteCount(4 << 12)), .best] { _ = try? subject.allocate(1, fit) }
      for order in 0...4 { _ = try? subject.allocate(1 << order, .orderAligned) }
      rows.append(Row(granules, "all fits", subject, nanoseconds() - firstUse))
    }
    if json {
      let lines = try chunks.map { try DatedRow($0, on: machine).json }
      print(jsonArray(try lines + rows.map { try DatedRow($0, on: machine).json }))
    } else {
      print("\(machine)\n")
      print(ChunkRow.title)
      for row in chunks { print(row.line) }
      guard !chunksOnly else { return }
      print("")
      print("granules   fits       index, bits a granule   made or first used, us")
      for row in rows { print(row.line) }
    }
  }
}

/// The index of one pool, for some fits.
private struct Row: Encodable {
  let granules: Int
  let fits: String
  /// To thousandths.
  let indexBits: Double
  let us: UInt64

  private enum CodingKeys: String, CodingKey {
    case granules, fits, us
    case indexBits = "index_bits_a_granule"
  }

  /// `time` is in nanoseconds.
  init(_ granules: Int, _ fits: String, _ subject: GenPoolSubject, _ time: UInt64) {
    self.granules = granules
    self.fits = fits
    let bits = Double(subject.pool.indexSize.rawValue * 8) / Double(granules)
    indexBits = (bits * 1000).rounded() / 1000
    us = time / 1000
  }

  /// The row of the table for people.
  var line: String {
    func pad(_ text: String, _ width: Int) -> String {
      text + String(repeating: " ", count: max(1, width - text.count))
    }
    return pad(String(granules), 11) + pad(fits, 11) + pad(String(indexBits), 24) + "\(us)"
  }
}
