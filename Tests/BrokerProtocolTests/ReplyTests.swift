import BrokerProtocol
import GenPool
import SystemPackage
import Testing

struct ReplyTests {
  static let brokerErrors: [BrokerError] = [
    .noSuchPool(pool: "p"), .noPool, .noSuchLease(lease: LeaseID(rawValue: "l")),
    .staleGeneration(lease: LeaseID(rawValue: "l"), generation: Generation(rawValue: 7)),
    .poolTooSmall(pool: "p", bytes: 8192, size: 4096),
    .poolFull(pool: "p", bytes: 4096, available: 0),
    .poolFragmented(pool: "p", bytes: 8192, available: 8192, largestFree: 4096),
    .poolFragmented(
      pool: "p", bytes: 8192, available: 8192, largestFree: 4096, alignment: 8192),
    .poolFragmented(pool: "p", bytes: 8192, available: 8192, largestFree: 8192, offset: 0),
    .poolBusy(
      pool: "p", reason: .uidExclusive, uid: UID(rawValue: 1000), leases: 1, holders: 2),
    .poolBusy(pool: "p", reason: .leases, uid: nil, leases: 1, holders: 0),
    .poolDraining(pool: "p"), .poolDenied(pool: "p", users: ["a", "7"], groups: ["g"]),
    .poolDenied(pool: "p", users: [], groups: []),
    .quotaExceeded(what: .leases, limit: 0, used: 0, pool: "p"),
    .poolRevoked(pool: "p", cause: "gone"), .poolExists(pool: "p"), .leaseTableFull(capacity: 3),
    .quotaExceeded(what: .bytes, limit: 4096, used: 4096),
    .quotaExceeded(what: .connections, limit: 3, used: 3),
    .noSuchDevice(device: "0000:01:00.0", bar: nil), .noSuchDevice(device: "0000:01:00.0", bar: 2),
    .deviceRefused(
      device: "0000:01:00.0",
      rules: [
        .init(rule: "driver", subject: "nvme", cause: "bound", cure: "unbind"),
        .init(rule: "class", subject: "0x03", cause: "display"),
      ]),
    .deviceError(operation: "map", subject: "BAR 2", errno: 1, cause: "lockdown"),
    .deviceError(operation: "map", subject: "BAR 2", errno: 12, cause: nil),
  ]

  static let serviceErrors: [BrokerError] = [
    .interfaceNotFound(interface: "a.b"), .methodNotFound(method: "a.B"),
    .methodNotImplemented(method: "a.B"), .invalidParameter(parameter: "x"), .permissionDenied,
    .expectedMore,
  ]

  private func received(_ frame: [UInt8]) throws -> ReceivedReply {
    #expect(frame.last == 0)
    return try ReceivedReply(frame: Array(frame.dropLast()))
  }

  @Test(arguments: brokerErrors)
  func `an error of the broker survives the way through its bytes`(error: BrokerError) throws {
    let reply = try received(Reply.frame(error: error))
    #expect(reply.errorName == error.name)
    #expect(throws: ReplyError.broker(error)) { try reply.result(of: Broker1.ListPools.self) }
    #expect(error.errno.rawValue > 0 && !error.description.isEmpty)
  }

  @Test(arguments: serviceErrors)
  func `an error of varlink survives the way through its bytes`(error: BrokerError) throws {
    let reply = try received(Reply.frame(error: error))
    #expect(throws: ReplyError.broker(error)) { try reply.result(of: Broker1.ListPools.self) }
    #expect(!error.description.isEmpty)
  }

  @Test func `a lease survives the way through its bytes, addresses as strings`() throws {
    let lease = Broker1.Lease(
      lease: LeaseID(rawValue: "ab"), generation: Generation(rawValue: 3), pool: "cmb",
      offset: 4096, size: 8192, physical: PhysicalAddress(0x80_f401_0000),
      bus: BusAddress(0xf401_0000), mapOffset: 4096, caching: "write-combining",
      isolation: "uid-exclusive", uid: UID(rawValue: 1000), pid: PID(rawValue: 77), state: .leased)
    let sent = Broker1.Acquire.Reply(lease: lease, descriptor: 0)
    let frame = try Reply.frame(sent)
    let text = String(decoding: frame.dropLast(), as: UTF8.self)
    #expect(text.contains("\"physical\":\"0x00000080f4010000\""))
    #expect(text.contains("\"size\":8192"))
    #expect(try received(frame).result(of: Broker1.Acquire.self) == sent)
  }

  @Test func `a reply without parameters is an empty one`() throws {
    for json in ["{}", "{\"parameters\":null}", "{\"parameters\":{}}"] {
      let reply = try ReceivedReply(frame: Array(json.utf8))
      #expect(try reply.result(of: Broker1.Release.self) == EmptyReply())
    }
  }

  @Test(arguments: [
    "{\"parameters\":{\"pools\":[],\"pools\":[]}}", "{\"error\":\"a.B\",\"error\":\"a.C\"}",
    "{\"parameters\":{\"pools\":[],\"x\":[{\"y\":1,\"y\":1}]}}",
  ])
  func `a reply with a key that is given twice is malformed`(json: String) {
    #expect(throws: MalformedMessage.self) { try ReceivedReply(frame: Array(json.utf8)) }
  }

  @Test func `fields that a client does not know are ignored`() throws {
    let json = "{\"parameters\":{\"pools\":[],\"new\":1},\"com.example\":2}"
    let reply = try ReceivedReply(frame: Array(json.utf8))
    #expect(try reply.result(of: Broker1.ListPools.self).pools.isEmpty)
  }

  @Test func `a reply that is not as promised is malformed, and says which field`() throws {
    let reply = try ReceivedReply(frame: Array("{\"parameters\":{\"pools\":[{}]}}".utf8))
    let error = #expect(throws: ReplyError.self) { try reply.result(of: Broker1.ListPools.self) }
    #expect(error?.description.contains("pools[0].") == true)
  }

  @Test func `an error that a client does not know keeps its name`() throws {
    for name in ["io.genpool.Broker1.Newer", "com.example.Odd"] {
      let reply = try ReceivedReply(frame: Array("{\"error\":\"\(name)\"}".utf8))
      #expect(throws: ReplyError.unknown(name: name)) {
        try reply.result(of: Broker1.ListPools.self)
      }
    }
  }

  @Test func `an error without what it must say is malformed`() throws {
    let reply = try ReceivedReply(frame: Array("{\"error\":\"io.genpool.Broker1.PoolFull\"}".utf8))
    let error = #expect(throws: ReplyError.self) { try reply.result(of: Broker1.ListPools.self) }
    guard case .malformed = error else {
      Issue.record("got \(String(describing: error))")
      return
    }
  }

  @Test func `a stream of replies says whether more follow`() throws {
    let more = try received(Reply.frame(EmptyReply(), continues: true))
    let last = try received(Reply.frame(EmptyReply()))
    #expect(more.continues && !last.continues)
  }

  @Test func `a number that varlink cannot carry is refused by its field`() {
    let run = Broker1.FreeRun(offset: ByteCount(UInt64.max), size: 1)
    let error = #expect(throws: UnencodableMessage.self) { try Reply.frame(run) }
    #expect(error?.field == "offset")
  }
}
