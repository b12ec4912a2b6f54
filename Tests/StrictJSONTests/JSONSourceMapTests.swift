import Foundation
import StrictJSON
import Testing

@Suite struct JSONSourceMapTests {
  private typealias Location = JSONSourceMap.Location

  private func map(_ text: String) throws -> JSONSourceMap {
    try JSONSourceMap(Array(text.utf8))
  }

  @Test func `each key and each value has a line and a column`() throws {
    let map = try map("{\n  \"a\": [1, {\"b\": null}],\n\t\"c\" : \"x\"\n}")
    #expect(
      map.values == [
        []: Location(line: 1, column: 1),
        [.key("a")]: Location(line: 2, column: 8),
        [.key("a"), .index(0)]: Location(line: 2, column: 9),
        [.key("a"), .index(1)]: Location(line: 2, column: 12),
        [.key("a"), .index(1), .key("b")]: Location(line: 2, column: 18),
        [.key("c")]: Location(line: 3, column: 8),
      ])
    #expect(
      map.keys == [
        [.key("a")]: Location(line: 2, column: 3),
        [.key("a"), .index(1), .key("b")]: Location(line: 2, column: 13),
        [.key("c")]: Location(line: 3, column: 2),
      ])
    #expect(map.repeatedKeys.isEmpty)
  }

  @Test func `columns count scalars, not bytes`() throws {
    let map = try map("{\"é漢😀\": 1}")
    #expect(map.values[[.key("é漢😀")]] == Location(line: 1, column: 9))
  }

  @Test func `a key is known by what its escapes mean`() throws {
    let map = try map("{\"\\u0061\\n\": 1, \"a\\u000a\": 2}")
    #expect(map.values[[.key("a\n")]] == Location(line: 1, column: 14))
    #expect(map.repeatedKeys.map(\.path) == [[.key("a\n")]])
  }

  @Test func `a repeated key is listed, and the first one's location is kept`() throws {
    let map = try map("{\"a\": 1, \"b\": {\"a\": 2},\n\"a\": 3, \"a\": 4}")
    #expect(map.repeatedKeys.map(\.path) == [[.key("a")], [.key("a")]])
    #expect(
      map.repeatedKeys.map(\.location) == [
        Location(line: 2, column: 1), Location(line: 2, column: 9),
      ])
    #expect(map.location(of: [.key("a")]) == Location(line: 1, column: 7))
    #expect(map.location(of: [.key("a")], isAboutKey: true) == Location(line: 1, column: 2))
  }

  @Test func `a path without a value is located by the value around it`() throws {
    let map = try map(" {\"a\": [1]}")
    #expect(map.location(of: [.key("a"), .index(7), .key("x")]) == Location(line: 1, column: 8))
    #expect(map.location(of: [.key("z")], isAboutKey: true) == Location(line: 1, column: 2))
  }

  @Test func `a decoding error's coding path leads to a location`() throws {
    let text = "{\"list\": [1,\n 2, \"three\"]}"
    let error = #expect(throws: DecodingError.self) {
      try JSONDecoder().decode([String: [Int]].self, from: Data(text.utf8))
    }
    guard case .typeMismatch(_, let context) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    let path = context.codingPath.map(JSONSourceMap.Step.init)
    #expect(try map(text).location(of: path) == Location(line: 2, column: 5))
  }

  @Test(arguments: [
    ("", "1:1: a value is missing: the end of the file is none"),
    ("[1,]", "1:3: a comma before ]: nothing follows it"),
    ("{'a': 1}", "1:2: a key in quotes is missing: \"'\" is none"),
    ("[\n1\n2]", "3:1: a comma or ] is missing before \"2\" (opened at 1:1)"),
    ("[1] 2", "1:5: \"2\" follows the end of the document"),
    ("[# x\n]", "1:2: a value is missing: # (JSON has no comments) is none"),
    ("[01]", "1:2: \"01\" is no number; sizes like 64M stand in quotes"),
    ("[True]", "1:2: \"True\" is no value; text stands in quotes"),
    ("[x\u{7f}\u{9b}]", "1:2: \"x\\u{7F}\\u{009B}\" is no value; text stands in quotes"),
    ("[\"\\ud800\"]", "1:2: a string with an escape that does not exist"),
    ("\u{feff}[]", "1:1: it begins with a byte order mark; save it without"),
  ])
  func `a text that is no JSON is refused at its first mistake`(text: String, error: String) {
    #expect(throws: JSONSyntaxError.self) { try map(text) }
    do throws(JSONSyntaxError) {
      _ = try JSONSourceMap(Array(text.utf8))
    } catch let found {
      #expect(found.description == error)
    }
  }

  @Test func `a text that is not UTF-8 is refused`() {
    #expect(throws: JSONSyntaxError.self) { try JSONSourceMap([0x22, 0xff, 0x22]) }
  }

  @Test func `nesting has a limit, below that of decoders and stacks`() throws {
    func nested(_ depth: Int) -> String {
      String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
    }
    _ = try map(nested(JSONTree.depthLimit))
    #expect(throws: JSONSyntaxError.self) { try map(nested(JSONTree.depthLimit + 1)) }
    #expect(throws: JSONSyntaxError.self) { try map(nested(100_000)) }
  }
}
