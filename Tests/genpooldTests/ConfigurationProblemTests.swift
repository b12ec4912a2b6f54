import Testing

@testable import genpoold

/// What a configuration's mistakes are called, and where they are.
struct ConfigurationProblemTests {
  private func problems(_ text: String) -> [String] {
    do {
      _ = try Configuration(text: Array(text.utf8), file: "f")
      return []
    } catch {
      return error.lines
    }
  }

  @Test(arguments: [
    // Not JSON at all.
    ("{\n  \"maxLeases\": 5,\n}", "f:2:17: a comma before }: nothing follows it"),
    ("{\n  \"maxLeases\" 5}", "f:2:15: a colon is missing before \"5\""),
    ("{\"pools\": []\n \"group\": \"x\"}", "f:2:2: a comma or } is missing before \"\\\"\""),
    ("{\n// why\n}", "f:2:1: a key in quotes is missing: / (JSON has no comments) is none"),
    ("", "f:1:1: the file is empty"), (" \n", "f:1:1: the file is empty; {} asks for nothing"),
    ("\u{feff}{}", "f:1:1: it begins with a byte order mark"),
    ("{\"a\": \"b\n\"}", "f:1:7: a string that does not end in its line"),
    ("{\"a\": \"b", "f:1:7: a string that does not end"),
    ("{\"a\": \"\\q\"}", "f:1:7: a string with an escape that does not exist"),
    ("{} {}", "f:1:4: \"{\" follows the end of the document"),
    ("{\"a\": 64M}", "f:1:7: \"64M\" is no number; sizes like 64M stand in quotes"),
    ("{\"a\": yes}", "f:1:7: \"yes\" is no value; text stands in quotes"),
    ("{\"a\": 1", "f:1:8: a comma or } is missing before the end of the file (opened at 1:1)"),
    ("[]", "f:1:1: an object in { } is wanted"),
    // Keys.
    ("{\n \"maxlease\": 1}", "f:2:2: maxlease: no such key; there are socket, group,"),
    ("{\"maxLeases\": 1,\n \"maxLeases\": 2}", "f:2:2: maxLeases: the key is given twice"),
    ("{\"é\": 1}", "f:1:2: \"\\u{e9}\": no such key"),
    // Values.
    ("{\"maxLeases\": \"1\"}", "f:1:15: maxLeases: an integer is wanted"),
    ("{\"maxLeases\": null}", "f:1:15: maxLeases: an integer is wanted"),
    ("{\"maxLeases\": 1.5}", "f:1:15: maxLeases: "),
    ("{\"maxLeases\": 0}", "f:1:15: maxLeases: 0 is not possible; from 1 to 1048576"),
    ("{\"socket\": \"run/x\"}", "f:1:12: socket: \"run/x\" is not possible; a path from /"),
    ("{\"socket\": \"/ru\\nx\"}", "f:1:12: socket: \"/ru\\nx\" is not possible; a path from /"),
    ("{\"socket\": \"/x\\u0000y\"}", "f:1:12: socket: \"/x\\u{0}y\" is not possible; a path from"),
    ("{\"socket\": \"/x\\u009by\"}", "f:1:12: socket: \"/x\\u{9b}y\" is not possible; a path from"),
    ("{\"record\": \"here\"}", "f:1:12: record: \"here\" is not possible; a directory, from / on"),
    ("{\"record\": \"/x\\ny\"}", "f:1:12: record: \"/x\\ny\" is not possible; a directory"),
    ("{\"group\": \"root\\u0000x\"}", "f:1:11: group: \"root\\u{0}x\" is not possible; there"),
    (
      "{\"quotas\": {\"users\": {\"root\\u0000\": {}}}}",
      "f:1:23: quotas.users.\"root\\u{0}\": there is no such user here"
    ),
    ("{\"socket\": \"/x.admin\"}", "f:1:12: socket: \"/x.admin\" is not possible; a path from"),
    ("{\"socket\": 5}", "f:1:12: socket: text in quotes is wanted"),
    ("{\"group\": \"nobody-has-it\"}", "f:1:11: group: \"nobody-has-it\" is not possible; there"),
    ("{\"adminGroup\": \"nobody-has-it\"}", "f:1:16: adminGroup: \"nobody-has-it\" is not"),
    ("{\"logLevel\": \"loud\"}", "f:1:14: logLevel: \"loud\" is not possible; there are trace,"),
    ("{\"pools\": {}}", "f:1:11: pools: a list in [ ] is wanted"),
    ("{\"pools\": [5]}", "f:1:12: pools[0]: an object in { } is wanted"),
    ("{\"quotas\": 5}", "f:1:12: quotas: an object in { } is wanted"),
    ("{\"quotas\": {\"default\": {}}}", "f:1:13: quotas.default: no such key"),
    ("{\"quotas\": {\"defaults\": {\"byte\": 1}}}", "f:1:26: quotas.defaults.byte: no such key"),
    (
      "{\"quotas\": {\"defaults\": {\"bytes\": \"much\"}}}",
      "f:1:35: quotas.defaults.bytes: no size; write 65536"
    ),
    (
      "{\"quotas\": {\"defaults\": {\"leases\": -1}}}",
      "f:1:36: quotas.defaults.leases: -1 is not possible"
    ),
    (
      "{\"quotas\": {\"users\": {\"nobody-has-it\": {}}}}",
      "f:1:23: quotas.users.nobody-has-it: there is no such user here"
    ),
    (
      "{\"quotas\": {\"users\": {\"0\": {}, \"root\": {}}}}",
      "quotas.users.root: user 0 has an entry already"
    ),
  ])
  func `a mistake is named with its line and column`(text: String, problem: String) {
    let found = problems(text)
    #expect(found.count == 1 && found.first?.contains(problem) == true, "\(found)")
  }

  @Test(arguments: [
    ("\"device\": \"x\"", "pools[0].device: \"x\" is not possible; an address like 0000:01:00.0"),
    ("\"bar\": 6", "pools[0].bar: 6 is not possible; a BAR is a number from 0 to 5"),
    ("\"offset\": 100", "pools[0].offset: 100 B is not possible; a multiple of the page size"),
    ("\"offset\": -4096", "pools[0].offset: no size"),
    ("\"size\": 0", "pools[0].size: 0 B is not possible"),
    ("\"size\": \"12 parsecs\"", "pools[0].size: no size; write 65536"),
    ("\"size\": true", "pools[0].size: no size"),
    ("\"granule\": \"12K\"", "pools[0].granule: 12 KiB is not possible; a power of two"),
    ("\"name\": \"a b\"", "pools[0].name: \"a b\" is not possible; 1 to 40 printable"),
    ("\"name\": \"\"", "pools[0].name: \"\" is not possible"),
    (
      "\"source\": \"iommufd\"",
      "pools[0].source: \"iommufd\" is not possible; there are sysfs and vfio"
    ),
    (
      "\"source\": \"vfio\", \"allow\": [\"hotplug\"]",
      "pools[0].allow: \"hotplug\" is not possible; there are accelerator, not-prefetchable"
    ),
    ("\"isolation\": \"range\"", "pools[0].isolation: \"range\" is not possible; there are uid-"),
    ("\"allow\": \"hotplug\"", "pools[0].allow: a list in [ ] is wanted"),
    (
      "\"allow\": [\"display\"]",
      "pools[0].allow: \"display\" is not possible; there are accelerator, hotplug"
    ),
    ("\"allow\": [1]", "pools[0].allow[0]: text in quotes is wanted"),
    ("\"erase\": 1", "pools[0].erase: true or false is wanted"),
    ("\"nth\": 1", "pools[0].nth: an address names one device already"),
    ("\"access\": [\"root\"]", "pools[0].access: an object in { } is wanted"),
    ("\"access\": {\"user\": []}", "pools[0].access.user: no such key; there are users, groups"),
    (
      "\"access\": {\"users\": [\"nobody-has-it\"]}",
      "pools[0].access.users: there is no user \"nobody-has-it\" here"
    ),
    (
      "\"access\": {\"groups\": [\"root\", \"nobody-has-it\"]}",
      "pools[0].access.groups: there is no group \"nobody-has-it\" here"
    ),
    ("\"access\": {\"users\": [true]}", "pools[0].access.users[0]: text in quotes is wanted"),
    (
      "\"quotas\": {\"defaults\": {\"connections\": 1}}",
      "pools[0].quotas.defaults.connections: no such key; there are bytes, leases"
    ),
    (
      "\"quotas\": {\"users\": {\"nobody-has-it\": {}}}",
      "pools[0].quotas.users.nobody-has-it: there is no such user here"
    ),
    ("\"colour\": \"red\"", "pools[0].colour: no such key; there are device, nth, bar"),
  ])
  func `a pool's mistake is named with its line`(field: String, problem: String) {
    var fields = ["\"device\": \"01:00.0\"", "\"bar\": 2"].filter {
      $0.prefix(6) != field.prefix(6)
    }
    fields.append(field)
    let found = problems("{\"pools\": [{\n" + fields.joined(separator: ",\n") + "}]}")
    #expect(found.count == 1 && found.first?.contains(problem) == true, "\(found)")
    #expect(found.first?.hasPrefix("f:\(fields.count + 1):") == true, "\(found)")
  }

  @Test func `what is missing in a pool is named where the pool stands`() {
    #expect(
      problems("{\"pools\": [\n  {}]}") == [
        "f:2:3: pools[0]: the key device is missing", "f:2:3: pools[0]: the key bar is missing",
      ])
  }

  @Test
  func
    `a controller's memory has no BAR beside it, and a persistent one is taken only to be erased`()
  {
    func found(_ fields: String) -> [String] {
      problems("{\"pools\": [{\"device\": \"01:00.0\", \(fields)}]}")
    }
    #expect(found("\"memory\": \"cmb\"") == [])
    #expect(found("\"memory\": \"cmb\", \"offset\": \"1M\", \"size\": \"1M\"") == [])
    #expect(
      found("\"memory\": \"cmb\", \"bar\": 2") == [
        "f:1:51: pools[0].bar: memory is where its registers have it"
      ])
    #expect(found("\"memory\": \"pmr\"").first?.contains("say \"erase\": true") == true)
    #expect(found("\"memory\": \"pmr\", \"erase\": true") == [])
  }

  @Test func `all mistakes are named at once, in the file's order`() {
    let text = """
      {
        "logLevel": "loud",
        "pools": [
          {"device": "01:00.0", "bar": 9, "size": "x"},
          7,
          {"device": "02:00.0", "bar": 2, "nome": "cmb"}
        ],
        "maxLeases": -1
      }
      """
    let found = problems(text)
    #expect(
      found.map { String($0.prefix { $0 != " " }) } == [
        "f:2:15:", "f:4:34:", "f:4:45:", "f:5:5:", "f:6:37:", "f:8:16:",
      ], "\(found)")
  }

  @Test func `two pools have neither one name nor one BAR`() {
    let text = """
      {"pools": [
        {"device": "01:00.0", "bar": 2, "name": "a"},
        {"device": "0000:01:00.0", "bar": 2, "name": "b"},
        {"device": "02:00.0", "bar": 2, "name": "a"}
      ]}
      """
    let found = problems(text)
    #expect(found.count == 2, "\(found)")
    #expect(found[0].hasPrefix("f:3:14: pools[1].device: pools[0] has BAR 2 of 0000:01:00.0"))
    #expect(found[1].hasPrefix("f:4:43: pools[2].name: pools[0] has this name already"))
  }

  @Test func `a file that is missing or no text is named`() {
    let missing = #expect(throws: InvalidConfiguration.self) {
      try Configuration(file: "/nonexistent/genpoold.json")
    }
    #expect(missing?.description == "/nonexistent/genpoold.json: No such file or directory")
    let binary = #expect(throws: InvalidConfiguration.self) {
      try Configuration(text: [0x7b, 0xff, 0x7d], file: "f")
    }
    #expect(binary?.description == "f:1:2: it is not UTF-8")
  }

  @Test func `nesting without end is refused, not followed`() {
    let found = problems(String(repeating: "[", count: 100_000))
    #expect(found.first?.hasSuffix("nested too deeply") == true)
  }

  /// Every prefix of a correct configuration, and every byte of it replaced: a mistake has a place, and
  /// nothing crashes.
  @Test func `a broken file is refused at a place, wherever it is broken`() {
    let text = Array(
      #"{"socket": "/a\u00e9", "pools": [{"device": "01:00.0", "bar": 2, "size": "4K"}]}"#.utf8)
    for end in text.indices {
      let found = problems(String(decoding: text[..<end], as: UTF8.self))
      #expect(found.count == 1 && found[0].hasPrefix("f:1:"), "\(end): \(found)")
    }
    for index in text.indices {
      for byte in "{}[]\",:\\x0-".utf8 {
        var broken = text
        broken[index] = byte
        for problem in problems(String(decoding: broken, as: UTF8.self)) {
          #expect(problem.hasPrefix("f:1:"), "\(String(decoding: broken, as: UTF8.self))")
        }
      }
    }
  }
}
