import Foundation
import GenPool
import Testing

@testable import genpool_bench

/// What a field hands in: files that are torn, empty, or no records, beside good ones.
struct ReplayedFileTests {
  private func replay(_ text: String) throws -> ReplayedFile {
    let path = FileManager.default.temporaryDirectory.appending(path: "\(UUID()).gpt").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Data(text.utf8).write(to: URL(filePath: path))
    return ReplayedFile(path: path)
  }

  private let head = "GENPOOL-TRACE 1 field\nP c\nC 100000 0 4000 4 = 0\nA 1 1000 = 100000 4\n"

  @Test func `a record ends before a line that is torn, even if it could be read`() throws {
    for torn in ["A", "A 2 10", "A 2 1000 = 101000 ", "A 2 1000 = 101000 4"] {
      let file = try replay(head + torn)
      #expect(file.problem == nil && file.tornLine == 5)
      #expect(file.replayer.recordCount == 3 && file.replayer.mismatches.isEmpty)
      #expect(file.summary.hasSuffix("3 records, 0 mismatches, ends before line 5, which is torn"))
    }
    #expect(try replay(head).tornLine == nil)
  }

  @Test(arguments: [
    ("", "empty"), ("GENPOOL-TR", "no whole line"), ("GENPOOL-TRACE 2 x\n", "version 1"),
    ("GENPOOL-TRACE 1 x\nZZ\n", ":2: unknown record ZZ"),
  ])
  func `what cannot be replayed is said`(text: String, reason: String) throws {
    let file = try replay(text)
    let problem = try #require(file.problem)
    #expect(problem.reason.contains(reason) && problem.status == 65)
    #expect(file.replayer.recordCount == 0)
    #expect(ReplayedFile(path: "/nonexistent/a.gpt").problem?.status == 66)
  }

  @Test func `a failed allocation is shown with the pool at that moment`() throws {
    let file = try replay(
      head + """
        G 2 4000 bf = 0 0
        L 3 2000 4000 = 0 -
        S oa
        A 4 3000 = 0 0
        R 100000 1000 = 4
        A 5 3000 = 100000 4

        """)
    #expect(file.replayer.mismatches.isEmpty)
    #expect(
      file.replayer.failures.map { "\($0.record.line): \($0)" } == [
        "5: 16 KiB, best fit: 12 KiB available, longest run 12 KiB",
        "6: 8 KiB, aligned to 16 KiB: 12 KiB available, longest run 12 KiB, so aligned 0 B",
        "8: 12 KiB, order-aligned: 12 KiB available, longest run 12 KiB, so aligned 0 B",
      ])
  }

  @Test func `a recorded failure that does not fail again is listed as well`() throws {
    let file = try replay(head + "A 2 1000 = 0 0\n")
    #expect(file.replayer.mismatches.count == 1)
    #expect(file.replayer.failures.map(\.available) == [0x3000])
  }

  @Test func `a record that a call ended is partial, and says by which`() throws {
    let file = try replay(head + "# the record ends here: genpool_cache_create has no record\n")
    #expect(file.ending == "genpool_cache_create has no record" && file.replayer.mismatches.isEmpty)
    #expect(file.summary.hasSuffix("partial: genpool_cache_create has no record"))
    #expect(try replay(head + "# a comment\n").ending == nil)
  }

  @Test func `the JSON object has all of it`() throws {
    struct Document: Decodable {
      struct Mismatch: Decodable { let line: Int, record: String, got: String }
      struct Failure: Decodable {
        let line: Int, size: Int, available: Int, largest: Int, fit: String
      }
      let file: String, records: Int, mismatches: [Mismatch], failures: [Failure]
      let torn_line: Int?, problem: String?
    }
    let file = try replay(head + "V = 1\nA 2 4000 = 0 0\nA \"\\\u{1}")
    let document = try JSONDecoder().decode(Document.self, from: JSONEncoder().encode(file))
    #expect(document.file == file.path && document.records == 5 && document.torn_line == 7)
    #expect(document.mismatches.map(\.record) == ["V = 1"] && document.mismatches[0].got == "3000")
    #expect(document.failures.map(\.largest) == [0x3000] && document.failures[0].size == 0x4000)
    let members = try JSONSerialization.jsonObject(
      with: JSONEncoder().encode(file.replayer.failures))
    #expect((members as? [[String: Any]])?.first?["largest_aligned"] is NSNull)
    let odd = ReplayedFile(path: "/nonexistent/\"\\\u{1}é.gpt")
    let named = try JSONDecoder().decode(Document.self, from: JSONEncoder().encode(odd))
    #expect(named.file == odd.path && named.problem?.hasPrefix(odd.path) == true)
  }
}
