import BrokerProtocol
import GenPool
import Testing

struct CallTests {
  private func call(_ json: String) throws -> ReceivedCall {
    try ReceivedCall(frame: Array(json.utf8))
  }

  private func acquire(_ parameters: String) throws -> Broker1.Acquire.Parameters {
    try call("{\"method\":\"io.genpool.Broker1.Acquire\",\"parameters\":\(parameters)}")
      .parameters(as: Broker1.Acquire.Parameters.self)
  }

  @Test func `a call survives the way through its bytes`() throws {
    let sent = Broker1.Acquire.Parameters(
      pool: "cmb", bytes: .mebibytes(2), alignment: .kibibytes(64), fit: .first, requestKey: "a/b")
    let bytes = try Call(Broker1.Acquire.self, sent, oneway: true).frame()
    #expect(bytes.last == 0)
    let received = try ReceivedCall(frame: Array(bytes.dropLast()))
    #expect(received.method == "io.genpool.Broker1.Acquire")
    #expect(received.interface == "io.genpool.Broker1")
    #expect(received.oneway && !received.more && !received.upgrade)
    #expect(try received.parameters(as: Broker1.Acquire.Parameters.self) == sent)
  }

  @Test(arguments: ["", ",\"parameters\":null", ",\"parameters\":{}"])
  func `missing, null and empty parameters are the same`(parameters: String) throws {
    let call = try call("{\"method\":\"x.Y\"\(parameters)}")
    #expect(try call.parameters(as: NoParameters.self) == NoParameters())
    #expect(try call.parameters(as: Broker1.Hello.Parameters.self).client == nil)
    #expect(throws: BrokerError.invalidParameter(parameter: "bytes")) {
      try call.parameters(as: Broker1.Acquire.Parameters.self)
    }
  }

  @Test(arguments: [
    ("{\"bytes\":\"1\"}", "bytes"), ("{\"bytes\":1.5}", "bytes"), ("{\"bytes\":-1}", "bytes"),
    ("{\"bytes\":9223372036854775808}", "bytes"), ("{\"bytes\":null}", "bytes"),
    ("{\"bytes\":true}", "bytes"), ("{\"bytes\":1,\"pool\":7}", "pool"),
    ("{\"bytes\":1,\"alignment\":\"4K\"}", "alignment"), ("{\"bytes\":1,\"fit\":[]}", "fit"),
    ("{\"bytes\":1,\"requestKey\":{}}", "requestKey"), ("{\"bytes\":1,\"label\":12}", "label"),
    ("[]", "parameters"), ("7", "parameters"),
    ("{\"bytes\":1.0}", "bytes"), ("{\"bytes\":1e3}", "bytes"), ("{\"bytes\":-0}", "bytes"),
    ("\"bytes\"", "parameters"), ("{\"bytes\":1e400}", "bytes"), ("{\"bytes\":-1e400}", "bytes"),
  ])
  func `a wrong type is refused by the name of the parameter`(_ json: String, _ name: String) {
    #expect(throws: BrokerError.invalidParameter(parameter: name)) { try acquire(json) }
  }

  @Test(arguments: [
    ("{\"bytes\":1,\"bytes\":2}", "bytes"), ("{\"bytes\":1,\"bytes\":1}", "bytes"),
    ("{\"bytes\":1,\"\\u0062ytes\":1}", "bytes"), ("{\"bytes\":1,\"x\":0,\"x\":0}", "x"),
    ("{\"bytes\":{\"a\":[{\"b\":1,\"b\":1}]}}", "bytes.a[0].b"),
    ("{\"bytes\":1,\"pool\":null,\"pool\":\"x\"}", "pool"),
  ])
  func `a parameter that is given twice is refused by its name`(_ json: String, _ name: String) {
    #expect(throws: BrokerError.invalidParameter(parameter: name)) { try acquire(json) }
  }

  @Test(arguments: [
    "{\"method\":\"x.Y\",\"method\":\"x.Z\"}",
    "{\"method\":\"x.Y\",\"com.example\":{\"a\":1,\"a\":1}}",
    "{\"method\":\"x.Y\",\"parameters\":{},\"parameters\":{}}",
    "{\"method\":\"x.Y\",\"more\":true,\"\\u006dore\":false}",
  ])
  func `a key of the envelope that is given twice is malformed`(json: String) {
    let error = #expect(throws: MalformedMessage.self) { try call(json) }
    #expect(error?.description.hasSuffix("is given twice") == true)
  }

  @Test func `a key is known by its scalars, not by its letters`() {
    // U+212A is canonically equivalent to K.
    #expect(throws: BrokerError.invalidParameter(parameter: "request\u{212a}ey")) {
      try acquire("{\"bytes\":1,\"request\u{212a}ey\":\"x\"}")
    }
  }

  @Test func `a parameter that the service does not know is refused, unless it is null`() throws {
    #expect(throws: BrokerError.invalidParameter(parameter: "near")) {
      try acquire("{\"bytes\":1,\"near\":\"0000:01:00.0\"}")
    }
    #expect(try acquire("{\"bytes\":1,\"near\":null}").bytes == 1)
    #expect(throws: BrokerError.invalidParameter(parameter: "parameters")) {
      try acquire("{\"bytes\":1,\"\":2}")
    }
    #expect(throws: BrokerError.invalidParameter(parameter: "x")) {
      try call("{\"method\":\"x.Y\",\"parameters\":{\"x\":1}}").parameters(as: NoParameters.self)
    }
  }

  @Test func `a wrong element of a list is named with its index`() throws {
    let call = try call(
      "{\"method\":\"x.Y\",\"parameters\":{\"device\":\"a\",\"bar\":0,\"allow\":[\"x\",1]}}")
    #expect(throws: BrokerError.invalidParameter(parameter: "allow[1]")) {
      try call.parameters(as: Broker1.Attach.Parameters.self)
    }
  }

  @Test func `null options are options not given`() throws {
    let call = try call("{\"method\":\"x.Y\",\"oneway\":null,\"more\":null,\"upgrade\":null}")
    #expect(!call.oneway && !call.more && !call.upgrade)
  }

  @Test func `a vendor's own key of the envelope is ignored`() throws {
    #expect(try call("{\"method\":\"x.Y\",\"com.example.trace\":{\"id\":1}}").method == "x.Y")
  }

  @Test(arguments: [
    "", " ", "null", "7", "[]", "\"x\"", "{", "{}", "{\"method\":7}", "{\"method\":null}",
    "{\"method\":\"x.Y\",\"more\":\"yes\"}", "{\"method\":\"x.Y\"} {}", "\u{feff}",
    "{\"method\":\"\\u00", "{\"method\":\"x.Y\",}", "{\"method\":\"x.Y\"}//",
    "\u{feff}{\"method\":\"x.Y\"}",
    "{\"method\":\"\\ud800\"}", "{\"method\":\"x.Y\",\"a\":NaN}", "{\"method\":\"x.Y\",\"a\":01}",
    String(repeating: "[", count: 60_000), String(repeating: "[", count: 513),
    String(repeating: "{\"a\":", count: 513),
  ])
  func `what is no envelope is malformed`(json: String) {
    #expect(throws: MalformedMessage.self) { try call(json) }
  }

  @Test func `a call nests 64 levels at most, and its strings hold any bracket`() throws {
    func nested(_ depth: Int) -> String {
      let opened = String(repeating: "[", count: depth)
      let closed = String(repeating: "]", count: depth)
      return "{\"method\":\"x.Y\",\"a\":\"[[\\\"{{\",\"b\":\(opened)\(closed)}"
    }
    // The call itself is one level.
    #expect(try call(nested(63)).method == "x.Y")
    #expect(throws: MalformedMessage.self) { try call(nested(64)) }
    let brackets = String(repeating: "[", count: 1000)
    #expect(try call("{\"method\":\"x.\(brackets)\"}").method == "x." + brackets)
  }

  @Test func `a call cut off at any byte is malformed`() throws {
    let whole = Array("{\"method\":\"x.Y\",\"parameters\":{\"bytes\":1}}".utf8)
    for end in whole.indices {
      #expect(throws: MalformedMessage.self) { try ReceivedCall(frame: Array(whole[..<end])) }
    }
  }

  @Test func `a count that varlink cannot carry is refused on the way out`() {
    let call = Call(Broker1.Acquire.self, .init(bytes: ByteCount(UInt64.max)))
    #expect(throws: BrokerError.invalidParameter(parameter: "bytes")) { try call.frame() }
  }

  @Test(arguments: [("x", ""), ("a.B", "a"), ("io.genpool.Broker1.Acquire", "io.genpool.Broker1")])
  func `a method's interface is what stands before its last dot`(
    _ method: String, _ interface: String
  ) throws {
    #expect(try call("{\"method\":\"\(method)\"}").interface == interface)
  }
}
