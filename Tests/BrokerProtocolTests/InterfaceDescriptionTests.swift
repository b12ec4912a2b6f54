import BrokerProtocol
import Foundation
import GenPool
import Testing

/// Holds the Swift types against io.genpool.Broker1.varlink, which is the truth, and is compiled in.
struct InterfaceDescriptionTests {
  private let interface = InterfaceText(Broker1.interfaceDescription)

  @Test func `the broker serves a description from its first comment to its last line`() {
    #expect(interface.text.hasPrefix("# genpool's broker leases the memory of PCIe devices"))
    #expect(interface.text.contains("\ninterface io.genpool.Broker1\n"))
    #expect(interface.text.hasSuffix(")\n"))
  }

  @Test func `the methods are those of the file`() {
    let names = Set(interface.methods.keys.map { "io.genpool.Broker1." + $0 })
    #expect(Broker1.methods == names)
    let service = InterfaceText(VarlinkService.interfaceDescription)
    #expect(VarlinkService.methods == Set(service.methods.keys.map { "org.varlink.service." + $0 }))
  }

  @Test func `every method takes the parameters of the file`() {
    check(Broker1.Hello.self)
    check(Broker1.ListDevices.self)
    check(Broker1.ListPools.self)
    check(Broker1.DescribePool.self)
    check(Broker1.Acquire.self)
    check(Broker1.Release.self)
    check(Broker1.ForceRelease.self)
    check(Broker1.Monitor.self)
    check(Broker1.ListLeases.self)
    check(Broker1.Attach.self)
    check(Broker1.Detach.self)
    check(Broker1.DrainPool.self)
  }

  private func check<Method: VarlinkMethod>(_ method: Method.Type) {
    let name = String(Method.name.split(separator: ".").last ?? "")
    let fields = Method.Parameters.CodingKeys.allCases.map(\.stringValue)
    #expect(fields == interface.methods[name]?.parameters.map(\.name), "\(name)")
  }

  @Test(arguments: ReplyTests.brokerErrors)
  func `every error says what the file promises`(error: BrokerError) throws {
    let name = try #require(error.name.split(separator: ".").last.map(String.init))
    try expectFields(of: error, are: #require(interface.errors[name], "\(name)"))
  }

  @Test func `every error of the file is known`() {
    let known = Set(ReplyTests.brokerErrors.map(\.name))
    #expect(known == Set(interface.errors.keys.map { "io.genpool.Broker1." + $0 }))
  }

  @Test func `every type has the fields of the file`() throws {
    let bar = Broker1.BAR(
      index: 2, physical: PhysicalAddress(1), bus: BusAddress(1), size: 1, kind: "memory",
      prefetchable: true, width64: true)
    let device = Broker1.Device(
      address: "a", vendorID: 1, deviceID: 1, classCode: 1, className: "c", name: "n", driver: "d",
      iommuGroup: 1, numaNode: 0, powerState: "D0", bars: [bar])
    let statistics = Broker1.Statistics(
      allocations: 1, frees: 1, peak: 1, failedFull: 1, failedFragmented: 1, freeRuns: 1,
      fragmentation: 0.5)
    let pool = Broker1.Pool(
      name: "p", device: "a", bar: 0, offset: 0, size: 1, physical: PhysicalAddress(1),
      bus: BusAddress(1), numaNode: 0, granule: 1, caching: "c", isolation: "i", state: .active,
      failure: "f", available: 0, dirty: 0, leased: 0, leases: 0, holders: 0, largestFree: 0,
      exclusiveUid: UID(rawValue: 1), source: "s", removal: "r", witness: "w", reach: "free",
      statistics: statistics, recordFile: "f", recordFailure: "r",
      access: .init(users: ["a"], groups: ["g"]), mayLease: true)
    let lease = Broker1.Lease(
      lease: LeaseID(rawValue: "l"), generation: Generation(rawValue: 1), pool: "p", offset: 0,
      size: 1, physical: PhysicalAddress(1), bus: BusAddress(1), mapOffset: 0, caching: "c",
      isolation: "i", uid: UID(rawValue: 1), pid: PID(rawValue: 1), state: .leased,
      label: "l")
    let chunk = Broker1.Chunk(
      physical: PhysicalAddress(1), bus: BusAddress(1), size: 1, available: 1)
    let refusal = Broker1.Refusal(rule: "r", subject: "s", cause: "c", cure: "c")

    try expectAllFields(of: bar, are: interface.types["BAR"])
    try expectAllFields(of: device, are: interface.types["Device"])
    try expectAllFields(of: pool, are: interface.types["Pool"])
    try expectAllFields(of: statistics, are: interface.types["Statistics"])
    try expectAllFields(of: lease, are: interface.types["Lease"])
    try expectAllFields(of: chunk, are: interface.types["Chunk"])
    try expectAllFields(of: refusal, are: interface.types["Refusal"])
    try expectAllFields(of: Broker1.FreeRun(offset: 0, size: 1), are: interface.types["FreeRun"])
    try expectAllFields(
      of: Broker1.LargestFree(alignment: 1, size: 1), are: interface.types["LargestFree"])

    let event = Broker1.Event(
      event: .pressure, pool: "p", available: 0, lease: LeaseID(rawValue: "l"),
      generation: Generation(rawValue: 1), uid: UID(rawValue: 1), pid: PID(rawValue: 1), cause: "c",
      label: "l")
    try expectAllFields(of: event, are: interface.types["Event"])
    try expectAllFields(
      of: Broker1.Monitor.Reply(event: event), are: interface.methods["Monitor"]?.reply)
    try expectAllFields(
      of: Broker1.ForceRelease.Reply(lease: lease), are: interface.methods["ForceRelease"]?.reply)
    let hello = Broker1.Hello.Reply(
      session: "s", version: "v", uid: UID(rawValue: 1), pid: PID(rawValue: 1), admin: true)
    try expectAllFields(of: hello, are: interface.methods["Hello"]?.reply)
    let description = Broker1.DescribePool.Reply(
      pool: pool, chunks: [], freeRuns: [], moreFreeRuns: false, largestFree: [])
    try expectAllFields(of: description, are: interface.methods["DescribePool"]?.reply)
    try expectAllFields(
      of: Broker1.Acquire.Reply(lease: lease, descriptor: 0),
      are: interface.methods["Acquire"]?.reply)
    try expectAllFields(
      of: Broker1.ListDevices.Reply(devices: []), are: interface.methods["ListDevices"]?.reply)
    try expectAllFields(
      of: Broker1.ListPools.Reply(pools: []), are: interface.methods["ListPools"]?.reply)
    try expectAllFields(
      of: Broker1.ListLeases.Reply(leases: []), are: interface.methods["ListLeases"]?.reply)
    try expectAllFields(
      of: Broker1.Attach.Reply(pool: pool), are: interface.methods["Attach"]?.reply)
    try expectAllFields(
      of: Broker1.DrainPool.Reply(pool: pool), are: interface.methods["DrainPool"]?.reply)
    try expectAllFields(of: Broker1.Access(), are: interface.types["Access"])
    try expectAllFields(of: EmptyReply(), are: interface.methods["Release"]?.reply)
    try expectAllFields(
      of: Broker1.Detach.Reply(unseenUid: UID(rawValue: 1), witness: "none"),
      are: interface.methods["Detach"]?.reply)
  }

  /// Each field of the value is one of the file's, and those that cannot be null are there.
  private func expectFields(of value: some Encodable, are fields: [InterfaceText.Field]) throws {
    let found = try keys(of: value)
    #expect(found.isSubset(of: fields.map(\.name)))
    #expect(found.isSuperset(of: fields.filter { !$0.isNullable }.map(\.name)))
  }

  private func expectAllFields(
    of value: some Encodable, are fields: [InterfaceText.Field]?
  ) throws {
    #expect(try keys(of: value) == Set(try #require(fields).map(\.name)))
  }

  private func keys(of value: some Encodable) throws -> Set<String> {
    let object = try JSONSerialization.jsonObject(with: JSONEncoder().encode(value))
    return Set(try #require(object as? [String: Any]).keys)
  }
}

/// As much of varlink's grammar as the comparison needs.
struct InterfaceText {
  struct Field: Equatable {
    let name: String
    let isNullable: Bool
  }

  let text: String
  private(set) var types: [String: [Field]] = [:]
  private(set) var methods: [String: (parameters: [Field], reply: [Field])] = [:]
  private(set) var errors: [String: [Field]] = [:]

  init(_ text: String) {
    self.text = text
    let lines = text.split(separator: "\n").filter { !$0.hasPrefix("#") }
    let declarations = lines.joined(separator: " ")
    for match in declarations.matches(of: /(type|error) (\w+) ?\(([^)]*)\)/) {
      let fields = Self.fields(match.3)
      if match.1 == "type" {
        types[String(match.2)] = fields
      } else {
        errors[String(match.2)] = fields
      }
    }
    for match in declarations.matches(of: /method (\w+)\(([^)]*)\) -> \(([^)]*)\)/) {
      methods[String(match.1)] = (Self.fields(match.2), Self.fields(match.3))
    }
  }

  private static func fields(_ text: Substring) -> [Field] {
    text.matches(of: /(\w+): (\??)/).map { Field(name: String($0.1), isNullable: !$0.2.isEmpty) }
  }
}
