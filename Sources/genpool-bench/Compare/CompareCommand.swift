import ArgumentParser
import Glibc

/// `genpool-bench compare`: genpool, a linear scan and bins at the same work, interleaved.
struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Measures genpool against a linear scan and against binned free lists.",
    discussion: """
      The work: free a random allocation, then allocate 1 to 16 granules until the pool is as full as \
      before; failed searches count. The state: filled, then turned over ten times. The linear scan \
      does what the kernel's allocator does, on copies of the same state; the bitmaps must be equal \
      after every window. Bins are what fast allocators use; they place where they like, and know no \
      alignment: their figures beside an aligned fit are those of unaligned work.

      Nanoseconds are for a pair of an allocation and a free, locks and the bench's own work included; \
      all figures are medians of windows in which all take turns, in time that the thread ran. \
      "faster" is the linear scan's time by genpool's, "of bins" genpool's time by that of bins. p99.9 \
      is of single allocations, with about 20 ns for the clock.
      """)

  @Option(help: "Only this case: \(PoolShape.names).")
  var `case`: String?
  @Option(help: "Only this fit.")
  var fit: MeasuredFit?
  @Option(help: "Only this occupancy: 50, 90 or 99 percent.")
  var occupancy: Int?
  @Flag(help: "In less than a minute: 90 percent, shorter windows, a younger state.")
  var quick = false
  @Flag(help: "Print a JSON array, an object for each row.")
  var json = false
  @Flag(help: "Print comma-separated values.")
  var csv = false
  @Option(
    help: ArgumentHelp("Write the JSON array into a file as well.", valueName: "file.json"),
    completion: .file())
  var save: String?
  @Option(
    help: ArgumentHelp("Draw the figures.", valueName: "file.svg"), completion: .file())
  var plot: String?

  func validate() throws {
    if let name = self.case, !PoolShape.all.contains(where: { $0.name == name }), name != "empty" {
      throw ValidationError("no case \(name): there are \(PoolShape.names)")
    }
    guard occupancy == nil || [50, 90, 99].contains(occupancy) else {
      throw ValidationError("--occupancy is 50, 90 or 99")
    }
    guard !(json && csv) else { throw ValidationError("--json and --csv are alternatives") }
    guard !plan.isEmpty || !emptyFits.isEmpty else {
      throw ValidationError(
        "there is nothing of that kind to measure: --quick has 90 percent only, and of 1GiB@64B the "
          + "first fit only; 64x16MiB@4KiB has no fixed fit; empty has no occupancy")
    }
  }

  func run() throws {
    let saved = try save.map { path throws(BenchError) in try OutputFile(path: path) }
    let plotted = try plot.map { path throws(BenchError) in try OutputFile(path: path) }
    let machine = Machine()
    var rows: [Measurement] = []
    if !json, !csv {
      print("\(machine); nanoseconds a pair\n\n\(Measurement.tableHead)")
      fflush(nil)
    }
    try measure { row in
      rows.append(row)
      if csv {
        if rows.count == 1 { print(row.csvHead) }
        print(row.csv)
      } else if !json {
        print(row.tableRow)
      }
      // Whoever waits sees each row as it comes.
      fflush(nil)
    }
    let document = try rows.map { DatedRow($0, on: machine) }.jsonRows
    if json { print(document) }
    try saved?.write(document + "\n")
    try plotted?.write(Plot(rows, machine).svg)
  }

  private var fits: [MeasuredFit] { MeasuredFit.allCases.filter { fit == nil || $0 == fit } }

  /// What is measured, but for the case `empty`.
  private var plan: [(shape: PoolShape, occupancy: Int, fits: [MeasuredFit])] {
    PoolShape.all.filter { self.case == nil || $0.name == self.case }.flatMap { shape in
      let fits = fits.filter { fit in
        shape.has(fit) && (!quick || shape.total <= 4 << 20 || fit == .first)
      }
      return (fits.isEmpty ? [] : quick ? [90] : [50, 90, 99])
        .filter { occupancy == nil || $0 == occupancy }.map { (shape, $0, fits) }
    }
  }

  /// The fits with which the case `empty` is measured.
  private var emptyFits: [MeasuredFit] {
    (self.case == nil || self.case == "empty") && occupancy == nil ? fits : []
  }

  private func measure(_ body: (Measurement) -> Void) throws {
    let effort = quick ? Effort.quick : .full
    for (shape, occupancy, fits) in plan {
      let comparison = try Comparison(shape, occupancy: occupancy, effort: effort)
      for fit in fits { body(try comparison.measure(fit)) }
    }
    for fit in emptyFits { body(try Comparison.empty(fit, effort: effort)) }
  }
}

extension MeasuredFit: ExpressibleByArgument {}
