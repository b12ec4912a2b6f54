/// What was measured of one case, fit and occupancy. Nanoseconds are for a pair of an allocation and a
/// free, the bench's own work included (`harness`).
struct Measurement {
  let `case`: String
  let fit: String
  /// Percent of the granules.
  let occupancy: Int
  let ns: Double
  /// Of the linear scan.
  let baselineNs: Double
  /// The linear scan's time by ours.
  let ratio: Double
  let binsNs: Double
  /// Our time by that of bins.
  let binsRatio: Double
  let harnessNs: Double
  /// Of single allocations, with the clock's own 20 ns.
  let latencies: Sorted
  let binsLatencies: Sorted
  /// Failed searches a pair: an alignment or 99 % cannot always be had.
  let failedShare: Double

  /// The numbers of the outputs for programs, in the order of their columns.
  private var numbers: KeyValuePairs<CodingKeys, Double> {
    [
      .ns: ns, .baselineNs: baselineNs, .ratio: ratio, .binsNs: binsNs, .binsRatio: binsRatio,
      .harnessNs: harnessNs,
      .p50: latencies.median, .p99: latencies.quantile(0.99), .p999: latencies.quantile(0.999),
      .max: latencies.quantile(1),
      .binsP50: binsLatencies.median, .binsP99: binsLatencies.quantile(0.99),
      .binsP999: binsLatencies.quantile(0.999), .binsMax: binsLatencies.quantile(1),
      .failed: failedShare,
    ]
  }

  /// The names of a table of comma-separated values.
  var csvHead: String {
    ([.case, .fit, .occupancy] + numbers.map(\.key)).map(\.rawValue).joined(separator: ",")
  }
  /// A row of it.
  var csv: String {
    ([self.case, fit, String(occupancy)] + numbers.map { String(hundredths($0.value)) })
      .joined(separator: ",")
  }

  /// The head of the table for people, which is Markdown as well.
  static var tableHead: String {
    row([
      "case", "fit", "%", "genpool", "linear scan", "faster", "bins", "of bins", "p99.9",
      "bins' p99.9",
    ]) + "\n|"
      + widths.map { String(repeating: "-", count: $0 + 1) + ":|" }.joined()
  }

  /// A row of it.
  var tableRow: String {
    func whole(_ value: Double) -> String { String(Int(value.rounded())) }
    return Self.row([
      self.case, fit, String(occupancy), whole(ns), Self.people(baselineNs),
      ratio >= 10 ? "\(whole(ratio))x" : "\((ratio * 10).rounded() / 10)x", whole(binsNs),
      "\((binsRatio * 100).rounded() / 100)x", whole(latencies.quantile(0.999)),
      whole(binsLatencies.quantile(0.999)),
    ])
  }

  private static let widths = [14, 12, 3, 7, 11, 8, 5, 7, 6, 11]

  private static func row(_ cells: [String]) -> String {
    let padded = zip(cells, widths).enumerated().map { column, cell in
      let space = String(repeating: " ", count: max(0, cell.1 - cell.0.count))
      return column < 2 ? cell.0 + space : space + cell.0
    }
    return "| " + padded.joined(separator: " | ") + " |"
  }

  /// Nanoseconds with a unit that keeps them short.
  private static func people(_ ns: Double) -> String {
    func tenths(_ value: Double) -> String { String((value * 10).rounded() / 10) }
    if ns >= 1_000_000 { return tenths(ns / 1_000_000) + " ms" }
    if ns >= 10_000 { return tenths(ns / 1000) + " us" }
    return String(Int(ns.rounded()))
  }
}

extension Measurement: Encodable {
  enum CodingKeys: String, CodingKey {
    case `case`, fit, occupancy, ns, ratio, failed
    case baselineNs = "baseline_ns"
    case binsNs = "bins_ns"
    case binsRatio = "bins_ratio"
    case harnessNs = "harness_ns"
    case p50 = "p50_ns"
    case p99 = "p99_ns"
    case p999 = "p999_ns"
    case max = "max_ns"
    case binsP50 = "bins_p50_ns"
    case binsP99 = "bins_p99_ns"
    case binsP999 = "bins_p999_ns"
    case binsMax = "bins_max_ns"
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(self.case, forKey: .case)
    try container.encode(fit, forKey: .fit)
    try container.encode(occupancy, forKey: .occupancy)
    for (key, number) in numbers { try container.encode(hundredths(number), forKey: key) }
  }
}
