import ArgumentParser
import Glibc

/// `genpool-bench replay`: recorded runs of the kernel's allocator against this one.
struct ReplayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Replays recorded runs of the kernel's gen_pool and compares every answer.",
    discussion: """
      The last line is "N records, M mismatches"; the first mismatches are shown before it with \
      file, line, what was got and what was expected.

      Exit status: 0 without mismatches, 1 with, 65 for a file that is no trace, 66 for one that \
      cannot be read.
      """)

  @Argument(help: "Trace files (.gpt).", completion: .file(extensions: ["gpt"]))
  var files: [String]

  @Option(name: .customLong("show"), help: "How many mismatches are shown.")
  var shown = 10

  func run() throws {
    var replayer = Replayer()
    var mismatches = 0
    for file in files {
      let trace = try read(file)
      replayer.replay(trace)
      for mismatch in replayer.mismatches.dropFirst(mismatches).prefix(max(0, shown - mismatches)) {
        print(
          """
          \(file):\(mismatch.record.line): \(mismatch.record.text)
            got \(mismatch.got), expected \(mismatch.record.answer ?? "nothing")
          """)
      }
      mismatches = replayer.mismatches.count
    }
    if replayer.refusalCount > 0 {
      print(
        "\(replayer.refusalCount) refused on purpose (wrapping ranges, chunks at 0 or overlapping),"
          + " \(replayer.setAsideCount) records set aside behind them")
    }
    print("\(replayer.recordCount) records, \(mismatches) mismatches")
    if mismatches > 0 { throw ExitCode(1) }
  }

  private func read(_ file: String) throws -> Trace {
    do {
      return try Trace(parsing: try contents(of: file))
    } catch let error as TraceSyntaxError {
      complain("\(file):\(error.line): \(error.reason)")
      throw ExitCode(EX_DATAERR)
    }
  }

  private func contents(of file: String) throws -> String {
    guard let stream = unsafe fopen(file, "re") else { throw unreadable(file) }
    defer { unsafe fclose(stream) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = unsafe fread(&buffer, 1, buffer.count, stream)
      bytes.append(contentsOf: buffer[..<count])
      if count == 0 { break }
    }
    guard unsafe ferror(stream) == 0 else { throw unreadable(file) }
    return String(decoding: bytes, as: UTF8.self)
  }

  private func unreadable(_ file: String) -> ExitCode {
    complain("\(file): \(unsafe String(cString: strerror(errno)))")
    return ExitCode(EX_NOINPUT)
  }

  private func complain(_ message: String) {
    let line = Array("genpool-bench: \(message)\n".utf8)
    _ = unsafe write(STDERR_FILENO, line, line.count)
  }
}
