import GenPool
import Glibc

/// What became of one trace file: whatever is wrong with it, the next one is replayed all the same.
struct ReplayedFile {
  /// Why a file was not replayed.
  struct Problem {
    /// With the line where there is one.
    let reason: String
    /// An exit status of sysexits.h.
    let status: Int32
  }

  let path: String
  /// What the replay found; of a file with a problem nothing.
  private(set) var replayer = Replayer()
  private(set) var problem: Problem?
  /// The last line's number, if it has no end: what was written of it is not the whole record.
  private(set) var tornLine: Int?

  init(path: String) {
    self.path = path
    guard let bytes = Self.contents(of: path) else {
      let cause = unsafe String(cString: strerror(errno))
      problem = Problem(reason: "\(path): \(cause)", status: EX_NOINPUT)
      return
    }
    guard let end = bytes.lastIndex(of: UInt8(ascii: "\n")) else {
      let what = bytes.isEmpty ? "empty" : "no whole line"
      problem = Problem(
        reason: "\(path): \(what): nothing was recorded (was the disk full?)", status: EX_DATAERR)
      return
    }
    if end + 1 < bytes.endIndex {
      tornLine = bytes[...end].count { $0 == UInt8(ascii: "\n") } + 1
    }
    do {
      replayer.replay(try Trace(parsing: String(decoding: bytes[...end], as: UTF8.self)))
    } catch {
      problem = Problem(reason: "\(path):\(error.line): \(error.reason)", status: EX_DATAERR)
    }
  }

  /// Nil with errno set when it cannot be read.
  private static func contents(of path: String) -> [UInt8]? {
    guard let stream = unsafe fopen(path, "re") else { return nil }
    defer { unsafe fclose(stream) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = unsafe fread(&buffer, 1, buffer.count, stream)
      bytes.append(contentsOf: buffer[..<count])
      if count == 0 { break }
    }
    return unsafe ferror(stream) == 0 ? bytes : nil
  }

  /// The file's line, for people.
  var summary: String {
    var parts = ["\(replayer.recordCount) records, \(replayer.mismatches.count) mismatches"]
    if !replayer.failures.isEmpty { parts.append("\(replayer.failures.count) failed allocations") }
    if let tornLine { parts.append("ends before line \(tornLine), which is torn") }
    return "\(path): \(parts.joined(separator: ", "))"
  }

  /// An object of a JSON document.
  var json: String {
    let mismatches = replayer.mismatches.map {
      "{\"line\": \($0.record.line), \"record\": \(quoted($0.record.text)), \"got\": \(quoted($0.got))}"
    }
    let failures = replayer.failures.map {
      "{\"line\": \($0.record.line), \"size\": \($0.size.rawValue), \"fit\": \(quoted($0.fitName)), "
        + "\"available\": \($0.available.rawValue), \"largest\": \($0.largest.rawValue), "
        + "\"largest_aligned\": \($0.largestAligned.map { "\($0.rawValue)" } ?? "null")}"
    }
    return "  {\"file\": \(quoted(path)), \"records\": \(replayer.recordCount), "
      + "\"mismatches\": [\(mismatches.joined(separator: ", "))], "
      + "\"failures\": [\(failures.joined(separator: ", "))], "
      + "\"torn_line\": \(tornLine.map(String.init) ?? "null"), "
      + "\"problem\": \(problem.map { quoted($0.reason) } ?? "null")}"
  }
}

/// A string of a JSON document.
private func quoted(_ text: some StringProtocol) -> String {
  var quoted = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"", "\\": quoted += "\\\(scalar)"
    case "\0"..<" ":
      let digits = String(scalar.value, radix: 16)
      quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    default: quoted.unicodeScalars.append(scalar)
    }
  }
  return quoted + "\""
}
