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
  /// The cause that ended the record before the pool, if the record has one.
  private(set) var ending: String?

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
      let trace = try Trace(parsing: String(decoding: bytes[...end], as: UTF8.self))
      ending = trace.ending.map(String.init)
      replayer.replay(trace)
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
    if let ending { parts.append("partial: \(ending)") }
    if let tornLine { parts.append("ends before line \(tornLine), which is torn") }
    return "\(path): \(parts.joined(separator: ", "))"
  }
}

/// An object of the JSON document. It has all members, `null` where there is none of the kind.
extension ReplayedFile: Encodable {
  private enum CodingKeys: String, CodingKey {
    case file, records, mismatches, failures, problem
    case tornLine = "torn_line"
    case ending = "partial"
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(path, forKey: .file)
    try container.encode(replayer.recordCount, forKey: .records)
    try container.encode(replayer.mismatches, forKey: .mismatches)
    try container.encode(replayer.failures, forKey: .failures)
    try container.encode(tornLine, forKey: .tornLine)
    try container.encode(ending, forKey: .ending)
    try container.encode(problem?.reason, forKey: .problem)
  }
}

extension Replayer.Mismatch: Encodable {
  private enum CodingKeys: CodingKey {
    case line, record, got
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(record.line, forKey: .line)
    try container.encode(String(record.text), forKey: .record)
    try container.encode(got, forKey: .got)
  }
}

extension FailedAllocation: Encodable {
  private enum CodingKeys: String, CodingKey {
    case line, size, fit, available, largest
    case largestAligned = "largest_aligned"
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(record.line, forKey: .line)
    try container.encode(size.rawValue, forKey: .size)
    try container.encode(fitName, forKey: .fit)
    try container.encode(available.rawValue, forKey: .available)
    try container.encode(largest.rawValue, forKey: .largest)
    try container.encode(largestAligned?.rawValue, forKey: .largestAligned)
  }
}
