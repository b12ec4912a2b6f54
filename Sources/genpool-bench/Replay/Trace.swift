import GenPool

/// A recorded run of the kernel's allocator: operations with what they answered.
///
/// The text form is described in Tests/Traces/golden/FORMAT.md: a line a record, `OP in… = out…`,
/// numbers in hexadecimal without prefix.
struct Trace {
  /// One operation and the reference's answer.
  struct Record {
    /// The line in the file, from 1.
    let line: Int
    /// What to do.
    let operation: Operation
    /// The record as written, for reports.
    let text: Substring
    /// What the reference answered, as written; nil where the record has no answer.
    let answer: Substring?
  }

  /// An operation with its inputs.
  enum Operation {
    case create(order: Int)
    case addChunk(
      start: VirtualAddress, physical: PhysicalAddress?, size: ByteCount, owner: UInt64)
    case setFit(Fit)
    case allocate(id: UInt64, size: ByteCount, fit: Fit?)
    case allocateDMA(id: UInt64, size: ByteCount, fit: Fit?)
    case allocateDMAAligned(id: UInt64, size: ByteCount, alignment: ByteCount)
    case free(id: UInt64)
    case freeRange(VirtualAddress, ByteCount)
    case freeStrided(VirtualAddress, ByteCount, stride: UInt64, count: UInt64)
    case contains(VirtualAddress, ByteCount)
    case physicalAddress(VirtualAddress)
    case available
    case size
    case chunks
    case fingerprint
    case warnings
    case destroy
    case place(Fit, Fit.Request, granules: Int, words: [UInt64])
  }

  /// The name given in the first line.
  let name: String
  let records: [Record]
  /// The cause that ended the record early; nil for a whole one.
  let ending: Substring?

  /// Parses a trace file's text.
  init(parsing text: String) throws(TraceSyntaxError) {
    var records: [Record] = []
    var name: String?
    var number = 0
    var ending: Substring?
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      number += 1
      if line.hasPrefix(Self.endingMark) { ending = line.dropFirst(Self.endingMark.count) }
      guard !line.isEmpty, !line.hasPrefix("#") else { continue }
      var fields = Fields(line, number: number)
      if name == nil {
        guard try fields.next() == "GENPOOL-TRACE", try fields.next() == "1" else {
          throw TraceSyntaxError(line: number, reason: "not a GENPOOL-TRACE of version 1")
        }
        name = String(try fields.next())
        continue
      }
      let operation = try fields.operation()
      records.append(
        Record(line: number, operation: operation, text: line, answer: try fields.answer()))
    }
    guard let name else { throw TraceSyntaxError(line: 1, reason: "empty") }
    self.name = name
    self.records = records
    self.ending = ending
  }

  /// The comment that libgenpool's genpool_record ends a partial record with.
  private static let endingMark = "# the record ends here: "
}

/// A line that is not a record of the format.
struct TraceSyntaxError: Error {
  /// The line in the file, from 1.
  let line: Int
  /// What is wrong with it.
  let reason: String
}

/// The fields of one line, taken one by one.
private struct Fields {
  private var rest: ArraySlice<Substring>
  private let line: Substring
  private let lineNumber: Int

  init(_ line: Substring, number: Int) {
    self.line = line
    lineNumber = number
    rest = line.split(separator: " ")[...]
  }

  private func failure(_ reason: String) -> TraceSyntaxError {
    TraceSyntaxError(line: lineNumber, reason: reason)
  }

  mutating func next() throws(TraceSyntaxError) -> Substring {
    guard let field = rest.popFirst() else { throw failure("a field is missing") }
    return field
  }

  /// What stands behind `=`, nil without one.
  mutating func answer() throws(TraceSyntaxError) -> Substring? {
    guard let sign = rest.popFirst() else { return nil }
    guard sign == "=" else { throw failure("unexpected field \(sign)") }
    guard let first = rest.first else { return "" }
    return line[first.startIndex...]
  }

  mutating func number() throws(TraceSyntaxError) -> UInt64 {
    let field = try next()
    guard let value = UInt64(field, radix: 16) else {
      throw failure("\(field) is not a hexadecimal number")
    }
    return value
  }

  mutating func integer(_ what: String, in range: ClosedRange<Int>) throws(TraceSyntaxError) -> Int
  {
    let value = try number()
    guard let value = Int(exactly: value), range.contains(value) else {
      throw failure("\(what) \(value) is out of range")
    }
    return value
  }

  mutating func bytes() throws(TraceSyntaxError) -> ByteCount { ByteCount(try number()) }

  mutating func address() throws(TraceSyntaxError) -> VirtualAddress {
    VirtualAddress(try number())
  }

  mutating func fit() throws(TraceSyntaxError) -> Fit {
    let token = try next()
    let parts = token.split(separator: ":", maxSplits: 1)
    let parameter = parts.count == 2 ? UInt64(parts[1], radix: 16) : nil
    switch (parts[0], parameter) {
    case ("ff", nil), ("n", nil): return .first
    case ("al", let align?): return .firstAligned(ByteCount(align))
    case ("oa", nil): return .orderAligned
    case ("bf", nil): return .best
    case ("fx", let offset?): return .fixed(offset: ByteCount(offset))
    default: throw failure("\(token) is no algorithm")
    }
  }

  mutating func operation() throws(TraceSyntaxError) -> Trace.Operation {
    switch try next() {
    case "P": return .create(order: try integer("order", in: 0...63))
    case "C":
      let start = try address()
      let physical: PhysicalAddress?
      if rest.first == "-" {
        _ = try next()
        physical = nil
      } else {
        physical = PhysicalAddress(try number())
      }
      return .addChunk(start: start, physical: physical, size: try bytes(), owner: try number())
    case "S": return .setFit(try fit())
    case "A": return .allocate(id: try number(), size: try bytes(), fit: nil)
    case "G": return .allocate(id: try number(), size: try bytes(), fit: try fit())
    case "D": return .allocateDMA(id: try number(), size: try bytes(), fit: nil)
    case "E": return .allocateDMA(id: try number(), size: try bytes(), fit: try fit())
    case "L":
      return .allocateDMAAligned(id: try number(), size: try bytes(), alignment: try bytes())
    case "F": return .free(id: try number())
    case "R": return .freeRange(try address(), try bytes())
    case "U":
      return .freeStrided(
        try address(), try bytes(), stride: try number(), count: try number())
    case "H": return .contains(try address(), try bytes())
    case "Y": return .physicalAddress(try address())
    case "V": return .available
    case "Z": return .size
    case "K": return .chunks
    case "Q": return .fingerprint
    case "W": return .warnings
    case "X": return .destroy
    case "B": return try placement()
    case let other: throw failure("unknown record \(other)")
    }
  }

  /// `B <algo> <order> <chunk start> <nbits> <start bit> <nr> <w0:w1:…>`
  private mutating func placement() throws(TraceSyntaxError) -> Trace.Operation {
    let fit = try fit()
    let granule = GranuleSize(order: try integer("order", in: 0...63))
    let chunkStart = ByteCount(try address().rawValue)
    let granules = try integer("bit count", in: 0...1 << 32)
    let start = GranuleIndex(try integer("start bit", in: 0...1 << 32))
    let count = GranuleCount(try integer("run", in: 0...1 << 32))
    var words: [UInt64] = []
    for word in try next().split(separator: ":") {
      guard let value = UInt64(word, radix: 16) else { throw failure("\(word) is no bitmap word") }
      words.append(value)
    }
    let request = Fit.Request(start: start, count: count, chunkStart: chunkStart, granule: granule)
    return .place(fit, request, granules: granules, words: words)
  }
}
