/// Rows of text under titles, for people: two blanks between columns, nothing after the last.
///
/// On a terminal a table is never wider than ``width``: its flexible columns (names that libpci
/// makes up, say), the last one first, are cut with `…` to make room. Everything that a user might
/// copy into a command is in a column of its own width, and is never cut.
struct Table {
  /// How a column is set.
  enum Alignment {
    /// Text.
    case left
    /// Numbers and sizes.
    case right
  }

  /// One column: its title, and how its cells are set.
  struct Column {
    let title: String
    let alignment: Alignment
    /// Whether cells may be cut.
    let flexible: Bool

    init(_ title: String, _ alignment: Alignment = .left, flexible: Bool = false) {
      self.title = title
      self.alignment = alignment
      self.flexible = flexible
    }
  }

  /// The widest line that a plain terminal shows whole.
  static let width = 80

  private let columns: [Column]
  private let width: Int
  private var rows: [[String]] = []

  /// An empty table of `columns`. It may be as wide as it likes where a program reads it.
  init(_ columns: [Column], width: Int = StandardOutput.isTerminal ? Self.width : .max) {
    self.columns = columns
    self.width = width
  }

  /// Adds a row; `cells` has one cell a column.
  mutating func add(_ cells: [String]) {
    precondition(cells.count == columns.count, "a row has one cell a column")
    rows.append(cells)
  }

  /// The titles and the rows, each line ended.
  var text: String {
    let lines = [columns.map(\.title)] + rows
    var widths = columns.indices.map { column in
      lines.map { $0[column].count }.max() ?? 0
    }
    for index in columns.indices.reversed() where columns[index].flexible {
      let excess = widths.reduce(0, +) + 2 * (columns.count - 1) - width
      if excess > 0 {
        widths[index] = max(columns[index].title.count, widths[index] - excess)
      }
    }
    return lines.map { line(of: $0, widths: widths) }.joined()
  }

  private func line(of cells: [String], widths: [Int]) -> String {
    var line = ""
    for (index, column) in columns.enumerated() {
      let cell = column.flexible ? cells[index].cut(to: widths[index]) : cells[index]
      let padding = String(repeating: " ", count: max(0, widths[index] - cell.count))
      line += index == 0 ? "" : "  "
      line += column.alignment == .left ? cell + padding : padding + cell
    }
    while line.last == " " { line.removeLast() }
    return line + "\n"
  }
}

/// One thing's facts, a line each: the name, and what there is to say.
struct FactSheet {
  private var facts: [(name: String, value: String, isProse: Bool)] = []

  /// Adds a line. A nil `value` adds nothing: what is not known is not shown. Prose is broken at
  /// blanks where it is too long for a line.
  mutating func add(_ name: String, _ value: String?, isProse: Bool = false) {
    guard let value else { return }
    facts.append((name, value, isProse))
  }

  /// The lines, each ended, values in one column.
  var text: String {
    let width = facts.map(\.name.count).max() ?? 0
    let indent = String(repeating: " ", count: width + 2)
    return facts.map { fact in
      let padding = String(repeating: " ", count: width - fact.name.count)
      guard fact.isProse else { return "\(fact.name)\(padding)  \(fact.value)\n" }
      let lines = fact.value.wrapped(to: Table.width - width - 2).split(separator: "\n")
        .map { $0.drop { $0 == " " } }
      return "\(fact.name)\(padding)  \(lines.joined(separator: "\n" + indent))\n"
    }.joined()
  }
}

extension String {
  /// The text, or its start and `…` when it is longer than `width` characters.
  func cut(to width: Int) -> String {
    count <= width ? self : String(prefix(max(0, width - 1))) + "…"
  }

  /// The text in lines of at most `width` characters, broken at blanks: the first after `indent`,
  /// the others after two blanks more.
  func wrapped(indent: String = "", to width: Int = Table.width) -> String {
    var lines = [indent]
    var isStart = true
    for word in split(separator: " ") {
      if !isStart, lines[lines.count - 1].count + 1 + word.count > width {
        lines.append(indent + "  ")
        isStart = true
      }
      lines[lines.count - 1] += (isStart ? "" : " ") + word
      isStart = false
    }
    return lines.joined(separator: "\n")
  }
}
