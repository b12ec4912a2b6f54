import StrictJSON
import Testing

/// Texts, and whether they are JSON: RFC 8259, and the decisions that it leaves to readers.
@Suite struct JSONVerdictTests {
  static let accepted: [String] = [
    "{}", "[]", " [ ] ", "\t{\r\n}\n", "null", "true", "false", "\"\"", "0", "-0", "-1", "10",
    "1.0", "1.50", "-0.0", "1e3", "1E+3", "1e-3", "0e0", "1.5e10", "1e400", "-1e400",
    "123456789012345678901234567890", "[1,[2,[3]]]", "{\"\":0}", "{\"a\":{\"a\":{\"a\":1}}}",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u0000\"", "\"\\u00e9\\uFFFF\"", "\"\\ud83d\\ude00\"",
    "\"\\uD83D\\uDE00\"", "\"é漢😀\"", "\"\u{7f}\u{2028}\"", "\"\u{feff}\"", "\"/*no comment*/\"",
    "[null,true,false,1,\"x\",{},[]]", "{\"a\":1,\"b\":1}", "{\"a\":1,\"A\":1}",
    // One letter for people, and two keys.
    "{\"\u{e9}\":1,\"e\u{301}\":1}", "{\"K\":1,\"\u{212a}\":1}",
  ]

  static let refused: [(String, cause: String)] = [
    ("", "1:1: a value is missing"), (" ", "1:2: a value is missing"),
    ("\u{feff}{}", "1:1: it begins with a byte order mark"),
    // Behind the end.
    ("{} {}", "1:4: \"{\" follows"), ("[]]", "1:3: \"]\" follows"), ("1 2", "1:3: \"2\" follows"),
    ("{}\u{1}", "1:3: \"\\u{01}\" follows"), ("null,", "1:5: \",\" follows"),
    ("{}//", "1:3: / (JSON has no comments) follows"),
    // Commas, colons, brackets.
    ("[1,]", "1:3: a comma before ]"), ("{\"a\":1,}", "1:7: a comma before }"),
    ("[,1]", "1:2: a value is missing"), ("[1,,2]", "1:4: a value is missing"),
    ("[1 2]", "1:4: a comma or ] is missing"), ("{\"a\" 1}", "1:6: a colon is missing"),
    ("{\"a\":}", "1:6: a value is missing"), ("{\"a\"}", "1:5: a colon is missing"),
    ("{\"a\":1 \"b\":2}", "1:8: a comma or } is missing"), ("{,}", "1:2: a key in quotes"),
    ("[1}", "1:3: a comma or ] is missing"), ("{\"a\":1]", "1:7: a comma or } is missing"),
    ("[", "1:2: a value is missing"), ("{", "1:2: a key in quotes is missing"),
    ("[1", "1:3: a comma or ] is missing"), ("{\"a\":1", "1:7: a comma or } is missing"),
    ("]", "1:1: a value is missing"), ("}", "1:1: a value is missing"),
    // Keys.
    ("{a:1}", "1:2: a key in quotes"), ("{1:1}", "1:2: a key in quotes"),
    ("{'a':1}", "1:2: a key in quotes"), ("{null:1}", "1:2: a key in quotes"),
    // Comments.
    ("/**/{}", "1:1: a value is missing: / (JSON has no comments)"),
    ("[1,#\n2]", "1:4: a value is missing: # (JSON has no comments)"),
    // Words.
    ("NaN", "1:1: \"NaN\" is no value"), ("Infinity", "1:1: \"Infinity\" is no value"),
    ("-Infinity", "1:1: \"-Infinity\" is no number"), ("nul", "1:1: \"nul\" is no value"),
    ("True", "1:1: \"True\" is no value"), ("undefined", "1:1: \"undefined\" is no value"),
    ("nullx", "1:1: \"nullx\" is no value"),
    // Numbers.
    ("01", "1:1: \"01\" is no number"), ("-01", "1:1: \"-01\" is no number"),
    ("+1", "1:1: a value is missing"), (".5", "1:1: a value is missing"),
    ("1.", "1:1: \"1.\" is no number"), ("1.e3", "1:1: \"1.e3\" is no number"),
    ("1e", "1:1: \"1e\" is no number"), ("1e+", "1:1: \"1e+\" is no number"),
    ("-", "1:1: \"-\" is no number"), ("--1", "1:1: \"--1\" is no number"),
    ("0x10", "1:1: \"0x10\" is no number"), ("1_000", "1:1: \"1_000\" is no number"),
    ("1e1.5", "1:1: \"1e1.5\" is no number"), ("1\u{660}", "1:1: \"1\\u{0660}\" is no number"),
    // Strings.
    ("\"a", "1:1: a string that does not end"), ("\"a\\", "1:1: a string that does not end"),
    ("\"a\nb\"", "1:1: a string that does not end in its line"),
    ("\"a\tb\"", "1:1: a string with a control character"),
    ("\"\u{1f}\"", "1:1: a string with a control character"),
    ("\"\\x41\"", "1:1: a string with an escape"), ("\"\\u12\"", "1:1: a string with an escape"),
    ("\"\\u12g4\"", "1:1: a string with an escape"),
    ("\"\\U0041\"", "1:1: a string with an escape"),
    ("\"\\u+123\"", "1:1: a string with an escape"),
    // Halves of surrogate pairs.
    ("\"\\ud83d\"", "1:1: a string with an escape"),
    ("\"\\ude00\"", "1:1: a string with an escape"),
    ("\"\\ude00\\ud83d\"", "1:1: a string with an escape"),
    ("\"\\ud83d\\ud83d\"", "1:1: a string with an escape"),
    ("\"\\ud83dx\"", "1:1: a string with an escape"),
    ("{\"\\ud83d\":1}", "1:2: a string with an escape"),
  ]

  /// Bytes that are no UTF-8 (RFC 3629), in a string.
  static let noUTF8: [[UInt8]] = [
    [0x80], [0xbf], [0xc0, 0x80], [0xc1, 0xbf], [0xc3], [0xe0, 0x80, 0x80], [0xe0, 0x9f, 0xbf],
    [0xe2, 0x82], [0xed, 0xa0, 0x80], [0xed, 0xbf, 0xbf], [0xf0, 0x80, 0x80, 0x80],
    [0xf0, 0x9f, 0x98], [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xfe], [0xff],
  ]

  @Test(arguments: accepted)
  func `a JSON text is read`(text: String) throws {
    #expect(try JSONTree(Array(text.utf8)).repeatedKeys.isEmpty)
  }

  @Test(arguments: refused)
  func `a text that is no JSON is refused with place and cause`(text: String, cause: String) {
    do throws(JSONSyntaxError) {
      _ = try JSONTree(Array(text.utf8))
      Issue.record("accepted")
    } catch {
      #expect(error.description.hasPrefix(cause), "\(error)")
    }
  }

  @Test(arguments: noUTF8)
  func `a text that is not UTF-8 is refused where it is not`(bytes: [UInt8]) {
    for text in [[0x22, 0x61] + bytes + [0x22], [0x5b, 0x5b] + bytes + [0x5d, 0x5d]] {
      do throws(JSONSyntaxError) {
        _ = try JSONTree(text)
        Issue.record("accepted")
      } catch {
        #expect(error.description == "1:3: it is not UTF-8")
      }
    }
  }

  @Test func `all scalars of UTF-8 are read as they are`() throws {
    var text = "\""
    for value in stride(from: UInt32(0x80), to: 0x11_0000, by: 61) {
      if let scalar = Unicode.Scalar(value) { text.unicodeScalars.append(scalar) }
    }
    let read = try JSONTree(Array("\(text)\"".utf8)).root.string
    #expect(read?.unicodeScalars.elementsEqual(text.dropFirst().unicodeScalars) == true)
  }

  @Test func `arrays and objects lie in each other 64 deep at most`() throws {
    func nested(_ opening: String, _ closing: String, _ depth: Int) -> [UInt8] {
      Array(
        (String(repeating: opening, count: depth) + "0" + String(repeating: closing, count: depth))
          .utf8)
    }
    for (opening, closing) in [("[", "]"), ("{\"a\":", "}")] {
      _ = try JSONTree(nested(opening, closing, JSONTree.depthLimit))
      #expect(throws: JSONSyntaxError.self) {
        try JSONTree(nested(opening, closing, JSONTree.depthLimit + 1))
      }
      #expect(throws: JSONSyntaxError.self) { try JSONTree(nested(opening, closing, 200_000)) }
    }
  }

  @Test(arguments: [
    ("{\"a\":1,\"a\":2}", ["a"]), ("{\"a\":1,\"\\u0061\":2}", ["a"]),
    ("{\"a\":1,\"b\":{\"x\":1,\"x\":1},\"a\":1}", ["b.x", "a"]),
    ("[{\"a\":1},{\"a\":1,\"a\":1,\"a\":1}]", ["1.a", "1.a"]),
    ("{\"\":1,\"\":1}", [""]),
  ])
  func `repeated keys are listed in the order of the text`(
    text: String, paths: [String]
  ) throws {
    let found = try JSONTree(Array(text.utf8)).repeatedKeys
    #expect(found.map { $0.map(\.stringValue).joined(separator: ".") } == paths)
  }

  @Test func `a repeated key is found among many as well`() throws {
    for count in [2, 15, 16, 17, 18, 1000] {
      let keys = (0..<count).map { "\"k\($0)\":\($0)" }.joined(separator: ",")
      #expect(try JSONTree(Array("{\(keys)}".utf8)).repeatedKeys.isEmpty)
      let again = try JSONTree(Array("{\(keys),\"k\(count / 2)\":0}".utf8)).repeatedKeys
      #expect(again == [[.key("k\(count / 2)")]])
    }
  }
}
