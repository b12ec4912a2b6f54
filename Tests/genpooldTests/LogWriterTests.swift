import Glibc
import LinuxSystem
import Testing

@testable import genpoold

/// The thread that writes the log.
struct LogWriterTests {
  /// A pipe of one page, the least.
  private struct SmallPipe: ~Copyable {
    let output: Descriptor
    let input: Descriptor

    init() throws {
      var ends: [CInt] = [-1, -1]
      let result = unsafe pipe(&ends)
      output = Descriptor(owning: ends[0])
      input = Descriptor(owning: ends[1])
      try #require(result == 0)
      for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
      // F_SETPIPE_SZ, of _GNU_SOURCE.
      try #require(fcntl(input.rawValue, 1031, 4096) >= 0)
    }

    /// What comes until `isEnough`, for ten seconds at most between two pieces.
    func read(until isEnough: (String) -> Bool) throws -> String {
      var bytes: [UInt8] = []
      while !isEnough(String(decoding: bytes, as: UTF8.self)) {
        var request = pollfd(fd: output.rawValue, events: Int16(POLLIN), revents: 0)
        try #require(unsafe poll(&request, 1, 10_000) == 1, "nothing more comes")
        var piece = [UInt8](repeating: 0, count: 65536)
        let count = unsafe Glibc.read(output.rawValue, &piece, piece.count)
        try #require(count > 0)
        bytes += piece.prefix(count)
      }
      return String(decoding: bytes, as: UTF8.self)
    }
  }

  private func line(_ number: Int) -> String { "<5>line number=\(number)\n" }

  @Test func `a reader that stalls stops no writer, and reads which lines are missing`() throws {
    let pipe = try SmallPipe()
    let writer = LogWriter(to: pipe.input.rawValue, form: .journal, capacity: 100_000)
    try writer.start()
    for number in 0..<20_000 { writer.write(line(number)) }
    // Where lines are missing there is their number: at one place, or at two if the thread began late.
    var (next, reports) = (0, 0)
    while next < 20_000 {
      let text = try pipe.read { $0.hasSuffix("\n") }
      for found in text.split(separator: "\n") {
        if let report = try /<4>(\d+) lines dropped cause="standard error .*"/.wholeMatch(in: found)
        {
          next += try #require(Int(report.1))
          reports += 1
        } else {
          try #require(found == line(next).dropLast())
          next += 1
        }
      }
    }
    #expect(next == 20_000 && (1...2).contains(reports))
    writer.write("<5>after\n")
    #expect(try pipe.read { $0.hasSuffix("\n") } == "<5>after\n")
    writer.finish()
  }

  @Test func `a descriptor that another process made non-blocking gets every line`() throws {
    let pipe = try SmallPipe()
    let flags = fcntl(pipe.input.rawValue, F_GETFL)
    try #require(fcntl(pipe.input.rawValue, F_SETFL, flags | O_NONBLOCK) == 0)
    let writer = LogWriter(to: pipe.input.rawValue, form: .journal)
    try writer.start()
    let long = String(repeating: "x", count: 10_000) + "\n"
    writer.write(long)
    for number in 0..<1000 { writer.write(line(number)) }
    let text = try pipe.read { $0.hasSuffix(line(999)) }
    #expect(text == long + (0..<1000).map(line).joined())
    #expect(fcntl(pipe.input.rawValue, F_GETFL) == flags | O_NONBLOCK)
    writer.finish()
  }

  @Test func `lines that a full disk refused are counted when it takes lines again`() throws {
    let full = unsafe open("/dev/full", O_WRONLY | O_CLOEXEC)
    try #require(full >= 0)
    let output = Descriptor(owning: full)
    let pipe = try SmallPipe()
    let writer = LogWriter(to: output.rawValue, form: .journal)
    try writer.start()
    for number in 0..<3 { writer.write(line(number)) }
    usleep(50_000)
    try #require(dup2(pipe.input.rawValue, output.rawValue) >= 0)
    _ = fcntl(output.rawValue, F_SETFD, FD_CLOEXEC)
    let text = try pipe.read { $0.hasSuffix("\n") }
    // A slow thread may have had lines left that the pipe took.
    #expect(text.hasPrefix("<4>") && text.contains("cause=\"write: No space left on device\""))
    writer.finish()
  }

  @Test func `a pipe without a reader is no end`() throws {
    let output: Descriptor
    do {
      let pipe = try SmallPipe()
      output = Descriptor(owning: fcntl(pipe.input.rawValue, F_DUPFD_CLOEXEC, 0))
    }
    let writer = LogWriter(to: output.rawValue, form: .journal)
    try writer.start()
    writer.write(line(0))
    writer.finish("last\n")
    writer.write("after the end\n")
  }

  @Test func `the end writes what waits, the last line too`() throws {
    let pipe = try SmallPipe()
    let writer = LogWriter(to: pipe.input.rawValue, form: .journal)
    try writer.start()
    for number in 0..<50 { writer.write(line(number)) }
    writer.finish("genpoold: it failed\n")
    let text = try pipe.read { $0.hasSuffix("failed\n") }
    #expect(text == (0..<50).map(line).joined() + "genpoold: it failed\n")
  }

  @Test func `a reader that stalls keeps no process from its end`() throws {
    let pipe = try SmallPipe()
    let writer = LogWriter(to: pipe.input.rawValue, form: .journal)
    try writer.start()
    for number in 0..<1000 { writer.write(line(number)) }
    let start = ContinuousClock.now
    writer.finish(within: .milliseconds(300))
    #expect(ContinuousClock.now - start < .seconds(3))
    // The thread ends.
    _ = try pipe.read { $0.hasSuffix(line(999)) }
  }

  @Test func `without its thread the end writes what waits`() throws {
    let pipe = try SmallPipe()
    let writer = LogWriter(to: pipe.input.rawValue, form: .journal)
    writer.write(line(0))
    writer.finish("last\n")
    #expect(try pipe.read { $0.hasSuffix("last\n") } == line(0) + "last\n")
  }
}
