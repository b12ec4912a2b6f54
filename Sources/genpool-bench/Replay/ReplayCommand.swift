import ArgumentParser
import Glibc

/// `genpool-bench replay`: recorded runs of the kernel's allocator, and of genpool's own pools, again.
struct ReplayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Replays records of pools and compares every answer.",
    discussion: """
      Records are what genpoold --record writes of a daemon's pools, RecordedPool and genpool_record \
      of a program's, and the golden traces of the kernel's gen_pool; Tests/Traces/golden/FORMAT.md describes them.

      Each file has a line; the last line is "N records, M mismatches" of all. The first mismatches are \
      shown with file, line, what was got and what was expected. A last line without an end was torn \
      when it was written: the record ends before it. A record that a call ended which has no record is \
      partial, and says by which. A file that is no record, or empty, is named on \
      standard error, and the others are replayed.

      With --failures each allocation that failed when it was recorded has a line: file and line, size, \
      fit, and what the pool had at that moment: what was available, the longest free run and, where enough \
      was free and an alignment was asked for, the longest counted from a place with that alignment.

      Exit status: 0 without mismatches, 1 with, 65 when a file is empty or no record, 66 when one \
      cannot be read.
      """)

  @Argument(help: "Records (.gpt).", completion: .file(extensions: ["gpt"]))
  var files: [String]

  @Option(name: .customLong("show"), help: "How many mismatches are shown.")
  var shown = 10

  @Flag(help: "List the allocations that failed, and the pool at that moment.")
  var failures = false

  @Flag(
    help: "Print a JSON array, an object for each file, with all mismatches and failed allocations."
  )
  var json = false

  func run() throws {
    var records = 0
    var mismatches = 0
    var refusals = 0
    var setAside = 0
    var problems: [ReplayedFile.Problem] = []
    // Not the files, whose pools would all be kept.
    var objects: [String] = []
    for path in files {
      let file = ReplayedFile(path: path)
      if json {
        objects.append(try file.json)
      } else if file.problem == nil {
        show(file, mismatches: max(0, shown - mismatches))
      }
      if let problem = file.problem {
        complain(problem.reason)
        problems.append(problem)
      }
      records += file.replayer.recordCount
      mismatches += file.replayer.mismatches.count
      refusals += file.replayer.refusalCount
      setAside += file.replayer.setAsideCount
    }
    if json {
      print(jsonArray(objects))
    } else {
      if refusals > 0 {
        print(
          "\(refusals) refused on purpose (wrapping ranges, chunks at 0 or overlapping),"
            + " \(setAside) records set aside behind them")
      }
      let missing =
        problems.isEmpty ? "" : ", \(problems.count) of \(files.count) files not replayed"
      print("\(records) records, \(mismatches) mismatches\(missing)")
    }
    if mismatches > 0 { throw ExitCode(1) }
    if let first = problems.first { throw ExitCode(first.status) }
  }

  private func show(_ file: ReplayedFile, mismatches: Int) {
    print(file.summary)
    for mismatch in file.replayer.mismatches.prefix(mismatches) {
      print(
        """
        \(file.path):\(mismatch.record.line): \(mismatch.record.text)
          got \(mismatch.got), expected \(mismatch.record.answer ?? "nothing")
        """)
    }
    guard failures else { return }
    for failure in file.replayer.failures {
      print("\(file.path):\(failure.record.line): \(failure)")
    }
  }

  /// On standard error, after what was said of the files before.
  private func complain(_ message: String) {
    fflush(nil)
    let line = Array("genpool-bench: \(message)\n".utf8)
    _ = unsafe write(STDERR_FILENO, line, line.count)
  }
}
