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

  /// A field of the outputs for programs: a name, and a number or a text.
  private var fields: [(name: String, value: String, isText: Bool)] {
    func number(_ value: Double) -> String { String((value * 100).rounded() / 100) }
    return [
      ("case", self.case, true), ("fit", fit, true), ("occupancy", String(occupancy), false),
      ("ns", number(ns), false), ("baseline_ns", number(baselineNs), false),
      ("ratio", number(ratio), false), ("bins_ns", number(binsNs), false),
      ("bins_ratio", number(binsRatio), false), ("harness_ns", number(harnessNs), false),
      ("p50_ns", number(latencies.median), false),
      ("p99_ns", number(latencies.quantile(0.99)), false),
      ("p999_ns", number(latencies.quantile(0.999)), false),
      ("max_ns", number(latencies.quantile(1)), false),
      ("bins_p50_ns", number(binsLatencies.median), false),
      ("bins_p99_ns", number(binsLatencies.quantile(0.99)), false),
      ("bins_p999_ns", number(binsLatencies.quantile(0.999)), false),
      ("bins_max_ns", number(binsLatencies.quantile(1)), false),
      ("failed", number(failedShare), false),
    ]
  }

  /// An object of a JSON document, with where and when.
  func json(_ machine: Machine) -> String {
    let members = fields.map { "\"\($0.name)\": \($0.isText ? "\"\($0.value)\"" : $0.value)" }
    return "  {\(members.joined(separator: ", ")), \(machine.json)}"
  }

  /// The names of a table of comma-separated values.
  var csvHead: String { fields.map(\.name).joined(separator: ",") }
  /// A row of it.
  var csv: String { fields.map(\.value).joined(separator: ",") }

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
