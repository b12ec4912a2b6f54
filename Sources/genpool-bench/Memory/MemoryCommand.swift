import ArgumentParser
import GenPool

/// `genpool-bench memory`: what the index takes beside the bitmap, and how long a chunk takes to make.
struct MemoryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "memory",
    abstract:
      "Shows the memory of bitmap and index in bits a granule, and the time to make a chunk.",
    discussion: """
      A fit's part of the index is made when it is first asked for. "all fits" has an alignment of 4 \
      granules, every order alignment up to 16 granules, and best fit. "first use" is the time of the \
      first allocation with that fit, in a pool that is half full of runs of one granule.
      """)

  @Flag(help: "Print a JSON array, an object for each row.")
  var json = false

  func run() throws {
    let machine = Machine()
    var lines: [String] = []
    for granules in [16 << 10, 4 << 20, 16 << 20] {
      let shape = PoolShape(name: "memory", chunks: 1, granules: granules, granuleOrder: 12)
      let start = nanoseconds()
      let subject = try GenPoolSubject(shape, .first)
      let creation = nanoseconds() - start
      lines.append(line(granules, "first", subject, creation, machine))
      guard subject.allocate(granules, at: .max) != nil else { throw BenchError.placementDiffers }
      for first in stride(from: 0, to: granules, by: 2) { subject.free(UInt64(first), 1) }
      let firstUse = nanoseconds()
      for fit in [Fit.firstAligned(ByteCount(4 << 12)), .best] { _ = try? subject.allocate(1, fit) }
      for order in 0...4 { _ = try? subject.allocate(1 << order, .orderAligned) }
      lines.append(line(granules, "all fits", subject, nanoseconds() - firstUse, machine))
    }
    if json {
      print("[\n\(lines.joined(separator: ",\n"))\n]")
    } else {
      print("\(machine)\n")
      print("granules   fits       index, bits a granule   made or first used, us")
      for line in lines { print(line) }
    }
  }

  private func line(
    _ granules: Int, _ fits: String, _ subject: GenPoolSubject, _ time: UInt64,
    _ machine: Machine
  ) -> String {
    let bits = Double(subject.pool.indexSize.rawValue * 8) / Double(granules)
    let rounded = (bits * 1000).rounded() / 1000
    if json {
      return "  {\"granules\": \(granules), \"fits\": \"\(fits)\", \"index_bits_a_granule\": "
        + "\(rounded), \"us\": \(time / 1000), \(machine.json)}"
    }
    func pad(_ text: String, _ width: Int) -> String {
      text + String(repeating: " ", count: max(1, width - text.count))
    }
    return pad(String(granules), 11) + pad(fits, 11) + pad(String(rounded), 24) + "\(time / 1000)"
  }
}
