import OptionText
import Testing

@Suite struct OptionTextTests {
  @Test func `options are taken in any order, and each once`() throws {
    var options = try OptionText("01:00.0:2,size=4096,erase=yes,name=a=b,node=3")
    #expect(options.head == "01:00.0:2")
    #expect(options.takeText("name") == "a=b")
    #expect(options.takeText("name") == nil)
    #expect(try options.takeNumber("node", as: UInt8.self) == 3)
    #expect(try options.takeChoice("erase", ["yes": true]) == true)
    #expect(try options.takeSize("size", as: Int.self) == 4096)
    #expect(try options.takeSize("offset", as: Int.self) == nil)
    try options.finish()
  }

  @Test func `a head is enough, even an empty one`() throws {
    #expect(try OptionText("").head == "")
    #expect(try OptionText("nvme").head == "nvme")
    try OptionText("nvme").finish()
  }

  @Test(arguments: [
    ("x,", "an empty option lacks its value: key=…"),
    ("x,,size=1", "an empty option lacks its value: key=…"),
    ("x,size", "size lacks its value: size=…"), ("x,size=", "size lacks its value: size=…"),
    ("x,=1", "=1 lacks its key: key=1"), ("x,size=1,size=2", "size is given twice"),
    ("x,\u{1b}[2J", "\u{fffd}[2J lacks its value: \u{fffd}[2J=…"),
  ])
  func `a field has a key and a value, and a key comes once`(text: String, problem: String) {
    let error = #expect(throws: InvalidOptionText.self) { try OptionText(text) }
    #expect(error == InvalidOptionText(text: text, problem: problem))
    #expect(error?.description == "\(text): \(problem)")
  }

  @Test func `a value that does not fit is shown with its key and what would fit`() throws {
    func problem(_ take: (inout OptionText) throws -> Void) throws -> String? {
      var options = try OptionText("x,a=-1,b=lots\u{7}")
      return #expect(throws: InvalidOptionText.self) { try take(&options) }?.problem
    }
    #expect(
      try problem { _ = try $0.takeNumber("a", as: UInt8.self) }
        == "a=-1 is not a number from 0 to 255")
    #expect(
      try problem { _ = try $0.takeSize("b", as: UInt64.self) }
        == "b=lots\u{fffd} is no size; write 65536, 0x10000 or 64K")
    #expect(
      try problem { _ = try $0.takeChoice("a", ["yes": true, "no": false]) }
        == "a=-1 is not yes or no")
    #expect(
      try problem { _ = try $0.take("a", else: "is not x") { $0 == "x" ? 1 : nil } }
        == "a=-1 is not x")
  }

  @Test func `a key that is not taken is named, with those that are`() throws {
    var options = try OptionText("x,colour=red")
    func problem() -> String? {
      #expect(throws: InvalidOptionText.self) { try options.finish() }?.problem
    }
    #expect(problem() == "no option colour; there are none")
    _ = options.takeText("offset")
    #expect(problem() == "no option colour; there is offset")
    _ = options.takeText("size")
    _ = options.takeText("offset")
    #expect(problem() == "no option colour; there are offset and size")
    _ = options.takeText("name")
    #expect(problem() == "no option colour; there are offset, size and name")
  }

  @Test func `a combining character behind a separator does not hide it`() throws {
    var options = try OptionText("x,name=\u{301}a,size=1")
    #expect(options.takeText("name") == "\u{301}a")
    #expect(options.takeText("size") == "1")
    #expect(throws: InvalidOptionText.self) { try OptionText("x,name=a,\u{301}b") }
  }
}
