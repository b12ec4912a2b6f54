import BrokerProtocol
import Foundation
import GenPool
import Glibc
import SystemPackage
import Testing

@testable import GenPoolClient

@Suite struct ConnectionTests {
  @Test func `an honest broker's answers come as they were sent`() throws {
    let pool = Broker1.Pool.example()
    let device = Broker1.Device(
      address: "0000:01:00.0", vendorID: 0x1b36, deviceID: 0x10, classCode: 0x010802)
    let description = Broker1.DescribePool.Reply(
      pool: pool, chunks: [], freeRuns: [.init(offset: .zero, size: .mebibytes(62))],
      moreFreeRuns: false, largestFree: [])
    let hello = Broker1.Hello.Reply(
      session: "1", version: "0.1", uid: UID(rawValue: 0), pid: PID(rawValue: 1),
      admin: true)
    let broker = try FakeBroker { session in
      try session.answer(hello)
      try session.answer(Broker1.ListDevices.Reply(devices: [device]))
      try session.answer(Broker1.ListPools.Reply(pools: [pool]))
      try session.answer(description)
      try session.answer(Broker1.ListLeases.Reply(leases: [.honest()]))
      try session.answer(Broker1.Attach.Reply(pool: pool))
      try session.answer(Broker1.DrainPool.Reply(pool: pool))
      try session.answer(Broker1.DrainPool.Reply(pool: pool))
      try session.answer(EmptyReply())
    }
    let connection = try broker.connect()
    #expect(try connection.hello(as: "test") == hello)
    #expect(try connection.devices() == [device])
    #expect(try connection.pools() == [pool])
    #expect(try connection.describe(pool: "cmb") == description)
    #expect(try connection.leases() == [.honest()])
    #expect(try connection.attach(.init(device: "0000:01:00.0", bar: 2)) == pool)
    #expect(try connection.drain(pool: "cmb") == pool)
    #expect(try connection.resume(pool: "cmb") == pool)
    try connection.detach(pool: "cmb")
    #expect(
      try broker.calls() == [
        "Hello", "ListDevices", "ListPools", "DescribePool", "ListLeases", "Attach", "DrainPool",
        "DrainPool", "Detach",
      ])
  }

  @Test(arguments: [
    BrokerError.noSuchPool(pool: "x"), .noPool,
    .poolFull(pool: "x", bytes: 4096, available: 0),
    .poolFragmented(pool: "x", bytes: 8192, available: 8192, largestFree: 4096),
    .poolBusy(
      pool: "x", reason: .uidExclusive, uid: UID(rawValue: 1), leases: 1, holders: 1),
    .deviceRefused(device: "0000:01:00.0", rules: [.init(rule: "r", subject: "s", cause: "c")]),
    .deviceError(operation: "map", subject: "BAR 2", errno: EPERM, cause: "lockdown"),
  ])
  func `a broker's error is thrown as it was sent, and the connection lives on`(
    error: BrokerError
  ) throws {
    let broker = try FakeBroker { session in
      try session.answer(error: error)
      try session.answer(Broker1.ListPools.Reply(pools: []))
    }
    let connection = try broker.connect()
    let thrown = #expect(throws: ClientError.self) { try connection.describe(pool: "x") }
    guard case .broker(error) = thrown else {
      Issue.record("\(String(describing: thrown))")
      return
    }
    #expect(thrown?.errno == error.errno)
    #expect(thrown?.isUnreachable == false)
    #expect(try connection.pools().isEmpty)
  }

  @Test func `errors of the system at the broker's end are told in its words`() throws {
    let error = ClientError.broker(
      .deviceError(
        operation: "map", subject: "BAR 2 of 0000:01:00.0", errno: EPERM, cause: "kernel lockdown"))
    #expect(
      error.description == "map BAR 2 of 0000:01:00.0: operation not permitted (kernel lockdown)")
  }

  @Test func `errors of varlink, and those of a newer broker, are told apart`() throws {
    let broker = try FakeBroker { session in
      try session.answer(error: BrokerError.permissionDenied)
      try session.answer(error: BrokerError.invalidParameter(parameter: "fit"))
      try session.answer(bytes: #"{"error":"io.genpool.Broker1.Tired"}"# + "\0")
    }
    let connection = try broker.connect()
    let denied = #expect(throws: ClientError.self) { try connection.detach(pool: "x") }
    #expect(denied?.errno.rawValue == EPERM)
    let invalid = #expect(throws: ClientError.self) { try connection.detach(pool: "x") }
    #expect(invalid?.errno.rawValue == EINVAL)
    let unknown = #expect(throws: ClientError.self) { try connection.detach(pool: "x") }
    #expect(unknown?.description.contains("io.genpool.Broker1.Tired") == true)
  }

  @Test func `without a daemon the error says how to start one`() throws {
    let error = #expect(throws: ClientError.self) {
      try Connection(to: BrokerSocket(path: "/nonexistent/genpool.socket"))
    }
    #expect(error?.isUnreachable == true)
    #expect(error?.errno.rawValue == ENOENT)
    #expect(
      error?.description.hasPrefix(
        "connect /nonexistent/genpool.socket: no such file or directory (is genpoold running? ")
        == true)
    let refused = #expect(throws: ClientError.self) {
      try Connection(to: BrokerSocket(path: "@genpool-nobody-listens"))
    }
    #expect(refused?.isUnreachable == true)
    #expect(refused?.errno.rawValue == ECONNREFUSED)
  }

  @Test func `a path that no socket can have is refused by name`() throws {
    let path = "/" + String(repeating: "x", count: 200)
    let error = #expect(throws: ClientError.self) { try Connection(to: BrokerSocket(path: path)) }
    #expect(error?.errno.rawValue == ENAMETOOLONG)
    #expect(error?.isUnreachable == false)
  }

  @Test(arguments: ["", #"{"parameters":{"#, #"{"parameters":{"pools":[]}}"#])
  func `a broker that closes before the end of its answer is reported as gone`(
    bytes: String
  ) throws {
    let broker = try FakeBroker { session in try session.answer(bytes: bytes) }
    let connection = try broker.connect()
    let error = #expect(throws: ClientError.self) { try connection.pools() }
    #expect(error?.errno.rawValue == ECONNRESET)
    #expect(error?.isUnreachable == true)
    let next = #expect(throws: ClientError.self) { try connection.pools() }
    #expect(next?.errno.rawValue == ENOTCONN)
  }

  @Test(arguments: [
    ("pools\0", "not a JSON object"),
    ("\0", "not a JSON object"),
    ("{}\0", "pools"),
    (#"{"parameters":{"pools":[{"name":1}]}}"# + "\0", "pools[0].name"),
    (#"{"parameters":{"pools":[]},"continues":true}"# + "\0{}\0", "pools"),
    (#"{"parameters":{"pools":[]}}"# + "\0{", "more than one"),
    (#"{"error":"io.genpool.Broker1.PoolFull","parameters":{}}"# + "\0", "lacks"),
    (#"{"error":"io.genpool.Broker1.PoolFull","parameters":{"bytes":-1}}"# + "\0", "lacks"),
  ])
  func `an answer that breaks the interface is a violation, and the last`(
    bytes: String, cause: String
  ) throws {
    let broker = try FakeBroker { session in
      try session.answer(bytes: bytes)
      try session.drain()
    }
    let connection = try broker.connect()
    let error = #expect(throws: ClientError.self) { try connection.pools() }
    guard case .violation(let violation) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(violation.method == "io.genpool.Broker1.ListPools")
    #expect(violation.cause.contains(cause), "\(violation)")
    #expect(error?.errno.rawValue == EPROTO)
    let next = #expect(throws: ClientError.self) { try connection.pools() }
    #expect(next?.errno.rawValue == ENOTCONN)
  }

  @Test func `a broker that does not answer is given up at the deadline`() throws {
    let broker = try FakeBroker { session in try session.drain() }
    do {
      let connection = try broker.connect(timeout: .milliseconds(50))
      // The second has to wait for the first one's answer before it asks.
      for _ in 0..<2 {
        let start = ContinuousClock.now
        let error = #expect(throws: ClientError.self) { try connection.pools() }
        #expect(error?.errno.rawValue == ETIMEDOUT)
        #expect(error?.isUnreachable == false)
        #expect(ContinuousClock.now - start >= .milliseconds(50))
      }
    }
    #expect(try broker.calls() == ["ListPools"])
  }

  @Test func `a late answer is not taken for the next one, and its lease is given back`() throws {
    let memory = try FakeMemory(size: 2 << 20)
    let answer = DispatchSemaphore(value: 0)
    let broker = try FakeBroker { session in
      _ = try session.nextCall()
      answer.wait()
      try session.send(
        Reply.frame(Broker1.Acquire.Reply(lease: .honest(), descriptor: 0)),
        descriptors: [memory.descriptor])
      _ = try session.nextCall()
      try session.answer(Broker1.ListPools.Reply(pools: [.example()]))
      try session.drain()
    }
    do {
      let connection = try broker.connect(timeout: .milliseconds(200))
      let error = #expect(throws: ClientError.self) { _ = try connection.acquire(.kibibytes(64)) }
      #expect(error?.errno.rawValue == ETIMEDOUT)
      answer.signal()
      #expect(try connection.pools().map(\.name) == ["cmb"])
    }
    #expect(try broker.calls() == ["Acquire", "Release!", "ListPools"])
  }

  @Test func `answers come in pieces of any size`() throws {
    let pools = (0..<40).map { Broker1.Pool.example(name: "pool\($0)") }
    let broker = try FakeBroker { session in
      _ = try session.nextCall()
      let frame = try Reply.frame(Broker1.ListPools.Reply(pools: pools))
      for start in stride(from: 0, to: frame.count, by: 997) {
        try session.send(Array(frame[start..<min(start + 997, frame.count)]))
      }
    }
    #expect(try broker.connect().pools() == pools)
  }

  @Test func `descriptors that nobody asked for are closed`() throws {
    var ends: [CInt] = [-1, -1]
    try #require(unsafe pipe(&ends) == 0)
    let (reading, writing) = (ends[0], ends[1])
    defer { close(reading) }
    let broker = try FakeBroker { session in
      try session.answer(
        Broker1.ListPools.Reply(pools: []), descriptors: [writing, writing, writing])
      close(writing)
    }
    #expect(try broker.connect().pools().isEmpty)
    _ = try broker.calls()
    #expect(isAtEnd(reading))
  }

  @Test func `threads take turns`() throws {
    let count = 50
    let broker = try FakeBroker { session in
      while let call = try session.nextCall() {
        let pool = try call.parameters(as: Broker1.DescribePool.Parameters.self).pool
        try session.send(
          Reply.frame(
            Broker1.DescribePool.Reply(
              pool: .example(name: pool), chunks: [], freeRuns: [], moreFreeRuns: false,
              largestFree: [])))
      }
    }
    let connection = try broker.connect()
    let wrong = Locked(0)
    DispatchQueue.concurrentPerform(iterations: 4) { thread in
      for index in 0..<count {
        let name = "\(thread)-\(index)"
        if (try? connection.describe(pool: name).pool.name) != name { wrong.add(1) }
      }
    }
    #expect(wrong.value == 0)
  }

  @Test func `a forked child has to connect anew`() throws {
    let broker = try FakeBroker { session in
      try session.answer(Broker1.ListPools.Reply(pools: []))
    }
    let connection = try broker.connect()
    let status = try inForkedChild {
      do throws(ClientError) {
        _ = try connection.pools()
        return 1
      } catch {
        return error.errno.rawValue == EPERM ? 0 : 2
      }
    }
    #expect(status == 0)
    #expect(try connection.pools().isEmpty)
    #expect(try broker.calls() == ["ListPools"])
  }
}
