import Broker
import BrokerProtocol
import CTestProcess
import DeviceMemory
import Foundation
import GenPool
import LinuxFixtures
import LinuxSystem
import Reference
import SystemPackage
import Testing

extension BrokerTests {
  /// Peers that break the rules: their connection ends, and nobody else notices.
  struct HostilePeerTests {
    /// Shows that the broker still serves.
    private func expectService(of broker: TestBroker) throws {
      #expect(try broker.client().acquire(4096).lease.size == 4096)
    }

    @Test(arguments: [
      "", "{", "[]", "null", "{}", "{\"method\":7}", "{\"method\":\"x\",\"more\":1}", "\u{1}\u{2}",
      String(repeating: "[", count: 60_000), "{\"method\":\"x\"} x",
    ])
    func `garbage ends the connection`(text: String) throws {
      let broker = try TestBroker()
      let client = try broker.client()
      try client.send(text)
      #expect(try client.isClosed())
      try expectService(of: broker)
    }

    @Test func `what was asked before the garbage is answered`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      try client.send(Call(Broker1.Hello.self, .init()).frame() + Array("garbage".utf8) + [0])
      _ = try client.receive().result(of: Broker1.Hello.self)
      #expect(try client.isClosed())
    }

    @Test func `a frame without an end ends the connection`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let spaces = [UInt8](repeating: 32, count: 10_000)
      // As long as the broker takes it: it hangs up long before.
      #expect(throws: Errno.self) {
        for _ in 0..<10_000 { try client.send(spaces) }
      }
      try expectService(of: broker)
    }

    @Test func `a message cut off at any byte leaves nothing behind`() throws {
      let broker = try TestBroker()
      let bytes = try Call(Broker1.Acquire.self, .init(bytes: 4096)).frame()
      for end in bytes.indices {
        let client = try broker.client()
        try client.send(Array(bytes[..<end]))
      }
      try expectService(of: broker)
      let client = try broker.client()
      try wait(for: "only the orphan of the lease above") { try client.pool().leases == 1 }
    }

    @Test func `descriptors that a peer sends are closed`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let name = "genpool-test-stray-\(UUID().uuidString)"
      let stray = try Descriptor(memory: name, size: 4096)
      let bytes = try Call(Broker1.Hello.self, .init()).frame()
      for _ in 0..<20 {
        try client.send(bytes, descriptors: [CInt](repeating: stray.rawValue, count: 16))
        _ = try client.receive().result(of: Broker1.Hello.self)
      }
      let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)"))?
          .contains(name) ?? false
      }
      #expect(open == 1)
    }

    @Test func `a peer that never reads is dropped, and costs no more than its bound`() throws {
      let broker = try TestBroker(configure: { $0.stallLimit = .milliseconds(300) })
      let client = try broker.client()
      let flags = fcntl(client.socket.rawValue, F_GETFL)
      #expect(fcntl(client.socket.rawValue, F_SETFL, flags | O_NONBLOCK) == 0)
      let call = try Call(
        VarlinkService.GetInterfaceDescription.self, .init(interface: Broker1.interface)
      ).frame()
      // Each answer is sixty times its call: soon the broker takes no more, and then it hangs up.
      let error = try wait(for: "the broker to hang up") { () -> Errno? in
        do {
          while true { try client.send(call) }
        } catch let errno as Errno {
          return errno == .resourceTemporarilyUnavailable ? nil : errno
        }
      }
      #expect(error == .brokenPipe || error == .connectionReset)
      try expectService(of: broker)
    }

    @Test func `a peer that reads late gets all answers`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let call = try Call(
        VarlinkService.GetInterfaceDescription.self, .init(interface: Broker1.interface)
      ).frame()
      // 300 answers are 2.5 MB: far more than the broker keeps and the socket holds.
      let count = 300
      let sender = Thread {
        _ = try? client.send(Array(repeating: call, count: count).flatMap { $0 })
      }
      sender.start()
      usleep(200_000)
      for _ in 0..<count {
        let reply = try client.receive().result(of: VarlinkService.GetInterfaceDescription.self)
        #expect(reply.description == Broker1.interfaceDescription)
      }
    }

    @Test func `what a peer asked before it went is done, although it read no answer`() throws {
      let broker = try TestBroker()
      let watcher = try broker.client()
      // The lease is the process's, so its other connection may release it.
      let lease = try watcher.acquire(4096).lease
      let hasty = try broker.client()
      let unread = try Call(
        VarlinkService.GetInterfaceDescription.self, .init(interface: Broker1.interface)
      ).frame()
      let release = try Call(
        Broker1.Release.self, .init(lease: lease.lease, generation: lease.generation)
      ).frame()
      try hasty.send(Array(repeating: unread, count: 100).flatMap { $0 } + release)
      #expect(shutdown(hasty.socket.rawValue, CInt(SHUT_RDWR)) == 0)
      try wait(for: "the release to be done") { try watcher.pool().leases == 0 }
    }

    @Test func `a dropped connection is closed at once, not when its timers end`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let flags = fcntl(client.socket.rawValue, F_GETFL)
      #expect(fcntl(client.socket.rawValue, F_SETFL, flags | O_NONBLOCK) == 0)
      let call = try Call(
        VarlinkService.GetInterfaceDescription.self, .init(interface: Broker1.interface)
      ).frame()
      // Until the broker takes no more: now it watches for a stall, for half a minute.
      #expect(throws: Errno.resourceTemporarilyUnavailable) {
        while true { try client.send(call) }
      }
      #expect(shutdown(client.socket.rawValue, CInt(SHUT_RDWR)) == 0)
      try wait(for: "the broker's end to be closed") {
        unsafe ct_count_sockets(broker.path) == 1
      }
    }

    @Test func `a peer that sends no more still gets its answers`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      try client.send(Call(Broker1.Hello.self, .init()).frame())
      #expect(shutdown(client.socket.rawValue, CInt(SHUT_WR)) == 0)
      _ = try client.receive().result(of: Broker1.Hello.self)
      #expect(try client.isClosed())
    }

    @Test func `a peer with much to ask keeps nobody waiting`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let question = try Call(Broker1.DescribePool.self, .init(pool: "pool0")).frame()
      let rude = try (0..<50).map { _ in try broker.client() }
      // Some 64 calls each, of which the answers fit: all of them are to be done.
      for peer in rude { try peer.send(Array(repeating: question, count: 64).flatMap { $0 }) }
      _ = try client.call(Broker1.Hello.self, .init())
      var answered = 0
      for peer in rude {
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = unsafe recv(peer.socket.rawValue, &bytes, bytes.count, CInt(MSG_DONTWAIT))
        answered += bytes.prefix(max(0, count)).count { $0 == 0 }
      }
      #expect(answered < 50 * 64, "one call did not wait for all of theirs")
    }

    @Test func `what a user does wrong fills no log, and what it does to memory is all told`()
      throws
    {
      let broker = try TestBroker(configure: { $0.logPeriod = .seconds(3) })
      let client = try broker.client()
      func provoke(_ count: Int) throws {
        for _ in 0..<count {
          #expect(throws: ReplyError.self) {
            try client.call(Broker1.DescribePool.self, .init(pool: "none"))
          }
        }
      }
      try provoke(100)
      for _ in 0..<40 { try client.release(client.acquire(4096).lease) }
      #expect(broker.log.lines("refused").count <= 30)
      #expect(broker.log.lines("lease").count == 40 && broker.log.lines("release").count == 40)
      try wait(for: "the rest to be counted") { !broker.log.lines("suppressed").isEmpty }
      let suppressed = broker.log.lines("suppressed")[0]
      #expect(suppressed == "notice 70 more lines suppressed uid=\(getuid())")
      try provoke(1)
      #expect(broker.log.lines("refused").count == 31)
    }

    @Test func `a random peer neither stops nor confuses the broker`() throws {
      let broker = try TestBroker()
      let frames = try [
        Call(Broker1.Hello.self, .init()).frame(), Call(Broker1.ListPools.self, .init()).frame(),
        Call(Broker1.Acquire.self, .init(bytes: 4096)).frame(),
        Call(
          Broker1.Release.self, .init(lease: .init(rawValue: "x"), generation: .init(rawValue: 1))
        )
        .frame(),
      ]
      for seed in 1...300 as ClosedRange<UInt64> {
        var random = SplitMix64(seed: seed)
        let client = try broker.client()
        var bytes = (0..<random.next(below: 8)).flatMap { _ in
          frames[random.next(below: frames.count)]
        }
        for _ in 0..<random.next(below: 4) where !bytes.isEmpty {
          bytes[random.next(below: bytes.count)] = UInt8(random.next(below: 256))
        }
        try? client.send(Array(bytes.prefix(random.next(below: bytes.count + 1))))
      }
      let client = try broker.client()
      _ = try client.call(Broker1.Hello.self, .init())
      let pool = try client.waitUntilClean()
      #expect(pool.available + pool.leased == pool.size)
    }
  }
}
