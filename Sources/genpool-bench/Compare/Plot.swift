import Glibc

/// The figures as bars on a logarithmic scale, three for each row: genpool, bins, linear scan.
struct Plot {
  private let rows: [Measurement]
  private let machine: Machine

  private static let left = 250.0
  private static let width = 560.0
  private static let barHeight = 7.0
  private static let rowHeight = 28.0
  private static let top = 64.0

  init(_ rows: [Measurement], _ machine: Machine) {
    self.rows = rows
    self.machine = machine
  }

  /// Ten nanoseconds at the left, a power of ten every so many points.
  private var decades: Double {
    let most = rows.flatMap { [$0.ns, $0.binsNs, $0.baselineNs] }.max() ?? 100
    return max(1, log10(most / 10).rounded(.up))
  }

  private func x(_ ns: Double) -> Double {
    Self.left + max(0, log10(max(ns, 10) / 10)) * Self.width / decades
  }

  /// The picture.
  var svg: String {
    let height = Self.top + Double(rows.count) * Self.rowHeight + 24
    var parts = [
      """
      <svg xmlns="http://www.w3.org/2000/svg" width="900" height="\(text(height))" \
      font-family="sans-serif" font-size="11">
      <rect width="100%" height="100%" fill="#ffffff"/>
      <text x="12" y="20" font-size="14">An allocation and a free, nanoseconds (logarithmic)</text>
      <text x="12" y="36" fill="#666666">\(machine.date), \(machine.name)</text>
      """
    ]
    for (index, series) in Self.series.enumerated() {
      let x = 480 + 120 * Double(index)
      parts.append(
        """
        <rect x="\(text(x))" y="11" width="10" height="10" fill="\(series.colour)"/>\
        <text x="\(text(x + 15))" y="20">\(series.name)</text>
        """)
    }
    for decade in 0...Int(decades) {
      let ns = pow(10, Double(decade + 1))
      parts.append(
        """
        <line x1="\(text(x(ns)))" x2="\(text(x(ns)))" y1="\(text(Self.top - 6))" \
        y2="\(text(height - 20))" stroke="#dddddd"/>\
        <text x="\(text(x(ns)))" y="\(text(Self.top - 10))" text-anchor="middle" fill="#666666">\
        \(Self.label(ns))</text>
        """)
    }
    for (index, row) in rows.enumerated() {
      let y = Self.top + Double(index) * Self.rowHeight
      let occupancy = row.occupancy == 0 ? "" : ", \(row.occupancy) %"
      parts.append(
        """
        <text x="\(text(Self.left - 8))" y="\(text(y + 14))" text-anchor="end">\
        \(row.case) \(row.fit)\(occupancy)</text>
        """)
      for (place, series) in Self.series.enumerated() {
        let end = x(series.ns(row))
        parts.append(
          """
          <rect x="\(text(Self.left))" y="\(text(y + Double(place) * Self.barHeight))" \
          width="\(text(end - Self.left))" height="\(text(Self.barHeight - 1))" \
          fill="\(series.colour)"/>
          """)
      }
    }
    return (parts + ["</svg>"]).joined(separator: "\n") + "\n"
  }

  private static let series:
    [(name: String, colour: String, ns: @Sendable (Measurement) -> Double)] =
      [
        ("genpool", "#1f6f8b", { $0.ns }), ("bins", "#c9a227", { $0.binsNs }),
        ("linear scan", "#b5b5b5", { $0.baselineNs }),
      ]

  private static func label(_ ns: Double) -> String {
    if ns >= 1_000_000 { return "\(Int(ns / 1_000_000)) ms" }
    return ns >= 1000 ? "\(Int(ns / 1000)) us" : "\(Int(ns)) ns"
  }

  private func text(_ value: Double) -> String { String((value * 10).rounded() / 10) }
}
