import Broker
import BrokerProtocol
import CTestProcess
import Foundation
import LinuxSystem
import Synchronization
import SystemPackage
import Testing

extension BrokerTests {
  /// The sockets' files: their permissions from the first moment on, and their end.
  @Suite struct ListeningSocketTests {
    private final class Directory {
      let path = FileManager.default.temporaryDirectory.path() + "genpool-\(UUID().uuidString)"
      deinit { try? FileManager.default.removeItem(atPath: path) }
    }

    private let directory = Directory()
    private var path: String { directory.path + "/socket" }

    /// The permissions of the file at `path`; nil when there is none.
    private static func mode(of path: String) -> UInt32? {
      var status = stat()
      return unsafe lstat(path, &status) == 0 ? status.st_mode & 0o7777 : nil
    }

    @Test(arguments: [ListeningSocket.Audience.clients, .admins])
    func `a socket's file never has more permissions than it has in the end`(
      audience: ListeningSocket.Audience
    ) throws {
      let path = path
      let allowed: UInt32 = audience == .admins ? 0o600 : 0o660
      let ended = Atomic(0)
      let seen = Mutex<Set<UInt32>>([])
      // Its umask takes nothing away, so that only the broker's own care does.
      Thread.detachNewThread {
        defer { ended.store(1, ordering: .releasing) }
        guard ct_unmask_thread() == 0 else { return }
        for _ in 0..<1000 { _ = try? ListeningSocket(path: path, for: audience) }
      }
      while ended.load(ordering: .acquiring) == 0 {
        if let mode = Self.mode(of: path) { _ = seen.withLock { $0.insert(mode) } }
      }
      let modes = seen.withLock(\.self)
      #expect(
        modes.allSatisfy { $0 & ~allowed == 0 }, "\(modes.map { String($0, radix: 8) })")
      #expect(modes.contains(allowed), "the file was seen as it is in the end")
    }

    @Test func `the admins' socket is its owner's alone without a group`() throws {
      let clients = try ListeningSocket(path: path, for: .clients)
      let admins = try ListeningSocket(path: path + ".admin", for: .admins)
      #expect(Self.mode(of: path) == 0o660 && Self.mode(of: path + ".admin") == 0o600)
      #expect(clients.path == path && admins.path == path + ".admin")
    }

    @Test func `a broker that ends before it serves closes the connections that wait`() throws {
      let waiting: [TestClient]
      do {
        let socket = try ListeningSocket(path: path)
        waiting = try (0..<3).map { _ in try TestClient(path: path) }
        // With bytes that the broker has not read, a plain close would be a reset for the client.
        for client in waiting.dropFirst() {
          try client.send(Call(Broker1.Hello.self, .init()).frame())
        }
        withExtendedLifetime(socket.path) {}
      }
      #expect(Self.mode(of: path) == nil)
      for client in waiting {
        #expect(try client.socket.receiveBytes(capacity: 16).isEmpty, "the end, and no reset")
      }
    }

    @Test func `a path that is too long is named, and leaves nothing`() throws {
      let long = directory.path + "/" + String(repeating: "x", count: 100)
      let error = #expect(throws: SystemError.self) { _ = try ListeningSocket(path: long) }
      #expect(try #require(error).description.contains("at most 107 bytes"))
      #expect(Self.mode(of: long) == nil)
    }

    @Test func `a second broker is refused while the first has yet to serve`() throws {
      let first = try ListeningSocket(path: path)
      // More than the queue takes: looking must not wait for the first one to accept.
      for _ in 0..<70 {
        let error = #expect(throws: SystemError.self) { _ = try ListeningSocket(path: path) }
        #expect(error?.errno == .addressInUse)
      }
      withExtendedLifetime(first.path) {}
    }
  }
}
