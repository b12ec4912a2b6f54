import Broker
import BrokerProtocol
import GenPool
import Glibc
import Testing

extension BrokerTests {
  /// The lines of the log that tell who got memory and who gave it back.
  struct AuditTests {
    private func cycle(_ client: TestClient, _ times: Int, pool: String = "pool0") throws {
      for _ in 0..<times {
        try client.release(client.acquire(.init(pool: pool, bytes: 4096)).lease)
      }
    }

    @Test func `of a user's leases 500 lines are written in a period, then a count of each event`()
      throws
    {
      let broker = try TestBroker(configure: { $0.logPeriod = .seconds(30) })
      try cycle(broker.client(), 600)
      #expect(broker.log.lines("lease").count == 250)
      #expect(broker.log.lines("release").count == 250)
      #expect(broker.log.lines("folded").isEmpty)
      broker.stop()
      #expect(
        broker.log.lines("folded") == ["notice folded lease=350 release=350 uid=\(getuid())"])
    }

    @Test func `a period ends with the count, and lines are written again`() throws {
      let broker = try TestBroker(configure: { $0.logPeriod = .seconds(3) })
      let client = try broker.client()
      try cycle(client, 600)
      try wait(for: "the count") { !broker.log.lines("folded").isEmpty }
      let written = broker.log.lines("lease").count + broker.log.lines("release").count
      let folded = broker.log.lines("folded").joined(separator: " ").split(separator: " ")
        .compactMap {
          $0.hasPrefix("uid") ? nil : $0.split(separator: "=").last.flatMap { Int($0) }
        }
      #expect(written + folded.reduce(0, +) == 1200)
      let before = broker.log.lines("lease").count
      try cycle(client, 1)
      #expect(broker.log.lines("lease").count == before + 1)
    }

    @Test func `few leases are all written, and nothing is folded`() throws {
      let broker = try TestBroker()
      try cycle(broker.client(), 250)
      broker.stop()
      #expect(broker.log.lines("lease").count == 250 && broker.log.lines("release").count == 250)
      #expect(broker.log.lines("folded").isEmpty)
    }

    @Test(.enabled(if: getuid() == 0, "only root can be another user"))
    func `another user's lines are not affected`() throws {
      let broker = try TestBroker(
        [
          .init(address: "0000:01:00.0", size: .mebibytes(1)),
          .init(address: "0000:02:00.0", size: .mebibytes(1)),
        ],
        attached: [
          .init(device: "0000:01:00.0", bar: 0, name: "pool0"),
          .init(device: "0000:02:00.0", bar: 0, name: "pool1"),
        ], configure: { $0.logPeriod = .seconds(30) })
      try cycle(broker.client(), 600)
      let other = try TestProcess(broker, uid: 1001)
      try cycle(other.connection(), 10, pool: "pool1")
      let lines = broker.log.lines("lease").filter { $0.contains("uid=1001") }
      #expect(lines.count == 10)
      #expect(broker.log.lines("release").count { $0.contains("uid=1001") } == 10)
      broker.stop()
      #expect(broker.log.lines("folded") == ["notice folded lease=350 release=350 uid=0"])
    }
  }
}
