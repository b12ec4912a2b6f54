public import ArgumentParser
import BrokerProtocol
public import GenPool
import GenPoolClient

/// `genpool-bench lease`: how long a lease takes to get and to give back.
struct LeaseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lease",
    abstract: "Times Acquire and Release against a running genpoold.",
    discussion: """
      Each round acquires a lease, maps it, unmaps it and releases it, as a client does: two round \
      trips over the socket, one descriptor, one mapping. Latencies are in microseconds.
      """)

  @Option(help: "Rounds that are counted; a tenth more comes before, uncounted.")
  var rounds = 2000

  @Option(help: "Size of a lease.")
  var size = ByteCount.kibibytes(64)

  @Option(help: ArgumentHelp("The pool (default: the first that can).", valueName: "name"))
  var pool: String?

  @Option(help: ArgumentHelp("Where genpoold listens.", valueName: "path"))
  var socket: String?

  @Flag(help: "Print one JSON object.")
  var json = false

  func validate() throws {
    guard rounds > 0 else { throw ValidationError("--rounds is at least 1") }
    guard size > .zero else { throw ValidationError("--size is at least 1 byte") }
  }

  func run() throws {
    let connection = try socket.map { try Connection(to: BrokerSocket(path: $0)) } ?? Connection()
    let clock = ContinuousClock()
    var acquired: [Duration] = []
    var released: [Duration] = []
    for round in 0..<(rounds + rounds / 10) {
      let start = clock.now
      let lease = try connection.acquire(size, from: pool)
      let middle = clock.now
      try lease.release()
      guard round >= rounds / 10 else { continue }
      acquired.append(start.duration(to: middle))
      released.append(middle.duration(to: clock.now))
    }
    let rows = [
      Row(name: "acquire", latencies: acquired), Row(name: "release", latencies: released),
      Row(name: "both", latencies: zip(acquired, released).map { $0 + $1 }),
    ]
    print(json ? try Document(size: size, rounds: rounds, rows: rows).json : table(rows))
  }

  /// The latencies of one operation, in microseconds.
  private struct Row {
    let name: String
    private let sorted: [Double]

    init(name: String, latencies: [Duration]) {
      self.name = name
      sorted = latencies.map { $0 / .microseconds(1) }.sorted()
    }

    /// The latency that `share` of all do not exceed, to a tenth.
    func quantile(_ share: Double) -> Double {
      let index = min(sorted.count - 1, Int(Double(sorted.count) * share))
      return (sorted[index] * 10).rounded() / 10
    }
  }

  private static let quantiles: [(name: String, share: Double)] = [
    ("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1),
  ]

  private func table(_ rows: [Row]) -> String {
    func line(_ cells: [String]) -> String {
      cells.map { String(repeating: " ", count: max(0, 10 - $0.count)) + $0 }.joined()
    }
    let head = line(["us"] + Self.quantiles.map(\.name))
    let body = rows.map { row in
      line([row.name] + Self.quantiles.map { String(row.quantile($0.share)) })
    }
    return ([head] + body).joined(separator: "\n")
  }

  /// The JSON object: an object of quantiles for each operation, beside the terms.
  private struct Document: Encodable {
    let size: ByteCount
    let rounds: Int
    let rows: [Row]

    private enum CodingKeys: String, CodingKey {
      case bytes, rounds, unit
    }

    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(size.rawValue, forKey: .bytes)
      try container.encode(rounds, forKey: .rounds)
      try container.encode("us", forKey: .unit)
      let operations = rows.map { row in
        (
          row.name,
          Dictionary(uniqueKeysWithValues: quantiles.map { ($0.name, row.quantile($0.share)) })
        )
      }
      try Dictionary(uniqueKeysWithValues: operations).encode(to: encoder)
    }
  }
}

extension ByteCount: ExpressibleByArgument {}
