import Broker
import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import Testing

extension BrokerTests {
  /// Work and memory that a client can cause, whatever it does.
  struct BoundedTests {
    private static let large = MemoryProvider.TestDevice(
      address: "0000:01:00.0", size: .mebibytes(16))

    @Test func `a long list comes in pages, or not at all`() throws {
      let broker = try TestBroker([Self.large])
      let client = try broker.client()
      _ = try client.waitUntilClean()
      for _ in 0..<300 { _ = try client.acquire(4096) }
      #expect(throws: ReplyError.broker(.expectedMore)) {
        try client.call(Broker1.ListLeases.self, .init())
      }
      let pages = try client.list(Broker1.ListLeases.self, .init(pool: "pool0"))
      #expect(pages.count == 5 && pages.allSatisfy { $0.leases.count <= 64 })
      #expect(Set(pages.flatMap(\.leases).map(\.lease)).count == 300)
      // The connection goes on with the next call.
      #expect(try client.pool().leases == 300)
      #expect(try client.list(Broker1.ListPools.self, .init()).flatMap(\.pools).count == 1)
      #expect(try client.list(Broker1.ListDevices.self, .init()).flatMap(\.devices).count == 1)
    }

    @Test func `calls behind a list are answered behind it`() throws {
      let broker = try TestBroker([Self.large])
      let client = try broker.client()
      _ = try client.waitUntilClean()
      for _ in 0..<130 { _ = try client.acquire(4096) }
      try client.send(
        Call(Broker1.ListLeases.self, .init(), more: true).frame()
          + Call(Broker1.Hello.self, .init()).frame())
      var count = 0
      while true {
        let reply = try client.receive()
        count += try reply.result(of: Broker1.ListLeases.self).leases.count
        guard reply.continues else { break }
      }
      #expect(count == 130)
      _ = try client.receive().result(of: Broker1.Hello.self)
    }

    @Test func `a client that does not read has one descriptor on its way`() throws {
      let broker = try TestBroker([Self.large])
      let watcher = try broker.client()
      _ = try watcher.waitUntilClean()
      let silent = try broker.client()
      let call = try Call(Broker1.Acquire.self, .init(bytes: 4096)).frame()
      for _ in 0..<100 { try silent.send(call) }
      // Others are served meanwhile.
      for _ in 0..<20 { try watcher.release(watcher.acquire(4096).lease) }
      #expect(try watcher.pool().leases == 1)
      // All come when it reads.
      for _ in 0..<100 { try silent.receiveLease() }
      #expect(try watcher.pool().leases == 100)
    }

    @Test func `a connection that ends with a descriptor unreceived keeps its place`() throws {
      let me = UID(rawValue: getuid())
      let broker = try TestBroker(
        [Self.large], configure: { $0.quotas = Quotas(overrides: [me: .init(connections: 3)]) })
      var ended: [TestClient] = []
      for _ in 0..<3 {
        let client = try broker.client()
        try client.send(
          Call(Broker1.Acquire.self, .init(bytes: 4096, wait: Milliseconds(rawValue: 5000)))
            .frame())
        // The reply is there, and stays there.
        var entry = pollfd(fd: client.socket.rawValue, events: Int16(POLLIN), revents: 0)
        #expect(unsafe poll(&entry, 1, 10_000) == 1)
        shutdown(client.socket.rawValue, CInt(SHUT_RDWR))
        ended.append(client)
      }
      usleep(50_000)
      let refused = try broker.client()
      #expect(throws: (any Error).self) { try refused.call(Broker1.Hello.self, .init()) }
      ended = []
      try wait(for: "a place") {
        (try? broker.client().call(Broker1.Hello.self, .init())) != nil
      }
    }

    @Test func `a client that reads late gets the rest of a list`() throws {
      let broker = try TestBroker([Self.large])
      let client = try broker.client()
      _ = try client.waitUntilClean()
      for _ in 0..<1000 { _ = try client.acquire(4096) }
      try client.send(Call(Broker1.ListLeases.self, .init(), more: true).frame())
      usleep(100_000)
      var count = 0
      while true {
        let reply = try client.receive()
        count += try reply.result(of: Broker1.ListLeases.self).leases.count
        guard reply.continues else { break }
      }
      #expect(count == 1000)
    }

    @Test(.enabled(if: getuid() == 0, "only root can be another user"))
    func `one user's share of the leases leaves some to others`() throws {
      let users = SubordinateUsers([
        .init(owner: UID(rawValue: 1001), first: 200_000, count: 65_536)
      ])
      let broker = try TestBroker(
        [.init(address: "0000:01:00.0", size: .mebibytes(1), isolation: .cooperative)],
        configure: { $0.quotas = Quotas(defaults: .init(leases: 3), subordinates: users) })
      let one = try TestProcess(broker, uid: 1001)
      let inItsContainer = try TestProcess(broker, uid: 200_007)
      _ = try one.connection().acquire(.init(bytes: 4096, wait: Milliseconds(rawValue: 5000)))
      for process in [one, inItsContainer] { _ = try process.connection().acquire(4096) }
      #expect(
        throws: ReplyError.broker(.quotaExceeded(what: .leases, limit: 3, used: 3))
      ) { try inItsContainer.connection().acquire(4096) }
      let other = try TestProcess(broker, uid: 1002)
      _ = try other.connection().acquire(4096)
    }
  }
}
