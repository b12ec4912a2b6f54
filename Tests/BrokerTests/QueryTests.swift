import Broker
import BrokerLeases
import BrokerProtocol
import GenPool
import Glibc
import SystemPackage
import Testing

extension BrokerTests {
  /// Calls that change nothing.
  struct QueryTests {
    @Test func `every varlink service says who it is and what it can do`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let information = try client.call(VarlinkService.GetInfo.self, .init())
      #expect(information.product == "genpoold" && information.version == "0.0.0-test")
      for interface in information.interfaces {
        let text = try client.call(
          VarlinkService.GetInterfaceDescription.self, .init(interface: interface)
        ).description
        #expect(text.contains("\ninterface \(interface)\n"))
      }
      #expect(throws: ReplyError.broker(.interfaceNotFound(interface: "a.b"))) {
        try client.call(VarlinkService.GetInterfaceDescription.self, .init(interface: "a.b"))
      }
    }

    @Test func `Hello tells the caller who the kernel says it is`() throws {
      let broker = try TestBroker()
      let hello = try broker.client().call(Broker1.Hello.self, .init(client: "a test\n\u{1b}[2J"))
      #expect(hello.pid.rawValue == getpid() && hello.uid.rawValue == getuid())
      #expect(hello.session.count == 32)
      let other = try broker.client().call(Broker1.Hello.self, .init())
      #expect(other.session != hello.session)
    }

    @Test func `devices are the provider's`() throws {
      let broker = try TestBroker()
      let devices = try broker.client().call(Broker1.ListDevices.self, .init()).devices
      #expect(devices.map(\.address) == ["0000:01:00.0"])
      #expect(devices.first?.bars.first?.size == .mebibytes(1))
    }

    @Test func `a new pool is listed, dirty until it is scrubbed`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let pool = try client.waitUntilClean()
      #expect(pool.name == "pool0" && pool.device == "0000:01:00.0" && pool.bar == 0)
      #expect(pool.size == .mebibytes(1) && pool.available == .mebibytes(1))
      #expect(pool.largestFree == .mebibytes(1) && pool.granule == 4096)
      #expect(pool.state == .active && pool.isolation == "uid-exclusive")
      #expect(pool.leases == 0 && pool.holders == 0 && pool.exclusiveUid == nil)
    }

    @Test func `a pool is described with its free runs and what each alignment can get`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      _ = try client.waitUntilClean()
      let low = try client.acquire(.init(bytes: .kibibytes(64), fit: .fixed, offset: 4096))
      let description = try client.call(Broker1.DescribePool.self, .init(pool: "pool0"))
      #expect(
        description.freeRuns == [
          .init(offset: 0, size: 4096), .init(offset: 69_632, size: .mebibytes(1) - 69_632),
        ])
      #expect(!description.moreFreeRuns)
      #expect(description.chunks.map(\.size) == [.mebibytes(1)])
      #expect(description.chunks.first?.available == .mebibytes(1) - low.lease.size)
      #expect(description.chunks.first?.physical == description.pool.physical)
      #expect(description.pool.physical != nil)
      let largest = Dictionary(
        uniqueKeysWithValues: description.largestFree.map { ($0.alignment, $0.size) })
      #expect(largest[4096] == .mebibytes(1) - 69_632)
      #expect(largest[.kibibytes(64)] == .mebibytes(1) - .kibibytes(128))
      #expect(largest[.kibibytes(512)] == .kibibytes(512))
      #expect(largest[.mebibytes(1)] == 4096)
    }

    @Test func `a pool says what it has done, and how often it could not`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let new = try #require(try client.waitUntilClean().statistics)
      #expect(
        new
          == .init(
            allocations: 0, frees: 0, peak: .zero, failedFull: 0, failedFragmented: 0, freeRuns: 1,
            fragmentation: 0))
      let low = try client.acquire(.init(bytes: .kibibytes(512))).lease
      let middle = try client.acquire(.init(bytes: .kibibytes(256))).lease
      try client.release(low)
      func refuse(_ bytes: ByteCount, wait: Int64? = 0) {
        #expect(throws: ReplyError.self) {
          try client.acquire(.init(bytes: bytes, wait: wait.map { Milliseconds(rawValue: $0) }))
        }
      }
      _ = try client.waitUntilClean()
      refuse(.kibibytes(600))
      // Asked of the pool again and again, and refused once.
      refuse(.kibibytes(600), wait: 200)
      refuse(.kibibytes(800))
      refuse(.mebibytes(2))
      // No failures of the pool: a request that makes no sense.
      refuse(0)
      let statistics = try #require(try client.pool().statistics)
      #expect(
        statistics
          == .init(
            allocations: 2, frees: 1, peak: .kibibytes(768), failedFull: 2, failedFragmented: 2,
            freeRuns: 2, fragmentation: 1 - 512.0 / 768))
      try client.release(middle)
      #expect(try client.waitUntilClean().statistics?.frees == 2)
    }

    @Test func `a refusal by a quota is no failure of the pool`() throws {
      let broker = try TestBroker(configure: {
        $0.quotas.overrides[UID(rawValue: getuid())] = .init(bytes: 4096)
      })
      let client = try broker.client()
      #expect(throws: ReplyError.self) { try client.acquire(8192) }
      let statistics = try client.pool().statistics
      #expect(statistics?.failedFull == 0 && statistics?.failedFragmented == 0)
    }

    @Test func `what is not there is said so`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      #expect(throws: ReplyError.broker(.noSuchPool(pool: "x"))) {
        try client.call(Broker1.DescribePool.self, .init(pool: "x"))
      }
      #expect(throws: ReplyError.broker(.noSuchPool(pool: "x"))) {
        try client.call(Broker1.ListLeases.self, .init(pool: "x"))
      }
      for (method, error) in [
        ("a.b.C", "org.varlink.service.InterfaceNotFound"),
        ("x", "org.varlink.service.InterfaceNotFound"),
        ("io.genpool.Broker1.X", "org.varlink.service.MethodNotFound"),
        ("org.varlink.service.X", "org.varlink.service.MethodNotFound"),
      ] {
        try client.send("{\"method\":\"\(method)\",\"upgrade\":true}")
        #expect(try client.receive().errorName == error)
      }
    }

    @Test func `a call that wants to leave varlink is refused`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      try client.send("{\"method\":\"io.genpool.Broker1.Hello\",\"upgrade\":true}")
      #expect(try client.receive().errorName == "org.varlink.service.MethodNotImplemented")
      _ = try client.call(Broker1.Hello.self, .init())
    }

    @Test func `a oneway call is done and not answered, be it right or wrong`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      _ = try client.waitUntilClean()
      try client.send(Call(Broker1.Acquire.self, .init(bytes: 4096), oneway: true).frame())
      try client.send(Call(Broker1.Acquire.self, .init(bytes: 0), oneway: true).frame())
      try client.send("{\"method\":\"x\",\"oneway\":true}")
      // The next answer is this call's.
      #expect(try client.pool().leases == 1)
    }

    @Test func `a call that would take several replies gets its one`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      try client.send(Call(Broker1.ListPools.self, .init(), more: true).frame())
      #expect(try client.receive().continues == false)
    }

    @Test func `calls sent in one go are answered in their order`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      _ = try client.waitUntilClean()
      let count = 500
      var bytes: [UInt8] = []
      for index in 0..<count {
        let name = "p\(index)"
        bytes += try Call(Broker1.DescribePool.self, .init(pool: name)).frame()
      }
      try client.send(bytes)
      for index in 0..<count {
        #expect(throws: ReplyError.broker(.noSuchPool(pool: "p\(index)"))) {
          try client.receive().result(of: Broker1.DescribePool.self)
        }
      }
    }
  }
}
