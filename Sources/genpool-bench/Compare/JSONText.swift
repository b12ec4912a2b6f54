import FoundationEssentials

extension Encodable {
  /// The value as one line of JSON without an end, its keys sorted.
  var json: String {
    get throws {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      return String(decoding: try encoder.encode(self), as: UTF8.self)
    }
  }
}

extension Sequence where Element: Encodable {
  /// A JSON array with a line for each element, so that results that are kept differ by rows.
  var jsonRows: String {
    get throws { jsonArray(try map { try $0.json }) }
  }
}

/// A JSON array of elements that are encoded already, each on a line.
func jsonArray(_ elements: [String]) -> String {
  "[\n" + elements.map { "  " + $0 }.joined(separator: ",\n") + "\n]"
}

/// A row of results, with where and when it was measured.
struct DatedRow<Row: Encodable>: Encodable {
  let row: Row
  let machine: Machine

  init(_ row: Row, on machine: Machine) {
    self.row = row
    self.machine = machine
  }

  /// Both are members of one object.
  func encode(to encoder: any Encoder) throws {
    try row.encode(to: encoder)
    try machine.encode(to: encoder)
  }
}

/// `value` to hundredths, as results have it.
func hundredths(_ value: Double) -> Double { (value * 100).rounded() / 100 }
