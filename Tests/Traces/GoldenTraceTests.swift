import Foundation
import Testing

@testable import genpool_bench

/// The kernel's own answers, recorded: 65 traces, every one equal.
struct GoldenTraceTests {
  private static let folder = URL(filePath: #filePath).deletingLastPathComponent()
    .appending(path: "golden")

  private static let files: [URL] = {
    let all = try? FileManager.default.contentsOfDirectory(
      at: folder, includingPropertiesForKeys: nil)
    return (all ?? []).filter { $0.pathExtension == "gpt" }
      .sorted { $0.lastPathComponent < $1.lastPathComponent }
  }()

  private func replay(_ text: String) throws -> Replayer {
    var replayer = Replayer()
    replayer.replay(try Trace(parsing: text))
    return replayer
  }

  @Test func `no trace is missing`() {
    #expect(Self.files.count == 65)
  }

  @Test(arguments: files)
  func `the kernel's answers are ours`(file: URL) throws {
    let replayer = try replay(String(contentsOf: file, encoding: .utf8))
    #expect(replayer.recordCount > 0)
    for mismatch in replayer.mismatches.prefix(3) {
      Issue.record("\(file.lastPathComponent):\(mismatch.record.line): got \(mismatch.got)")
    }
    // Only the trace of oddities may be refused anything.
    let isQuirks = file.lastPathComponent == "quirks.gpt"
    #expect(isQuirks ? replayer.refusalCount == 6 : replayer.refusalCount == 0)
    #expect(isQuirks ? replayer.setAsideCount == 17 : replayer.setAsideCount == 0)
  }

  @Test(arguments: [
    "A 1 1000 = 100000 5", "V = 3000", "Q = 1 3 0", "K = 100000:103fff:0:4000:5", "X = BUG",
    "Y 100000 = 1", "H 100000 1 = 0", "R 100000 1000 = 5", "W = 1", "Z = 1",
  ])
  func `a wrong answer is a mismatch`(record: String) throws {
    let replayer = try replay("GENPOOL-TRACE 1 wrong\nP c\nC 100000 0 4000 4 = 0\n\(record)\n")
    #expect(replayer.mismatches.count == 1)
  }

  @Test(arguments: [
    "", "GENPOOL-TRACE 2 x", "GENPOOL-TRACE 1 x\nZZ", "GENPOOL-TRACE 1 x\nP 40",
    "GENPOOL-TRACE 1 x\nA 1", "GENPOOL-TRACE 1 x\nA 1 xyz = 0", "GENPOOL-TRACE 1 x\nG 1 1 al = 0 0",
    "GENPOOL-TRACE 1 x\nV 5", "GENPOOL-TRACE 1 x\nP ffffffffffffffff",
  ])
  func `what is no trace is refused`(text: String) {
    #expect(throws: TraceSyntaxError.self) { try Trace(parsing: text) }
  }
}
