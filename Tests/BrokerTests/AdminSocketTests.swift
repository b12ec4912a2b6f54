import Broker
import BrokerProtocol
import DeviceMemory
import Foundation
import GenPool
import LinuxSystem
import Synchronization
import SystemPackage
import Testing

extension BrokerTests {
  /// The admins' socket makes an admin, and no user does.
  @Suite struct AdminSocketTests {
    private static let isRoot = getuid() == 0

    /// A broker with a pool that several users share, and a device without one.
    private func broker(
      configure: @escaping @Sendable (inout LeaseBroker.Configuration) -> Void = { _ in }
    ) throws -> TestBroker {
      try TestBroker(
        [
          .init(address: "0000:01:00.0", size: .mebibytes(1), isolation: .cooperative),
          .init(address: "0000:02:00.0", size: .mebibytes(1)),
        ], configure: configure)
    }

    /// The calls that only admins may make, of the second device and of `lease`; all their errors.
    private func denials(_ client: TestClient, of lease: LeaseID) -> [ReplyError?] {
      func error<Method: VarlinkMethod>(
        _ method: Method.Type, _ parameters: Method.Parameters
      ) -> ReplyError? {
        do {
          _ = try client.call(method, parameters)
          return nil
        } catch {
          return error as? ReplyError
        }
      }
      return [
        error(Broker1.ForceRelease.self, .init(lease: lease)),
        error(Broker1.Attach.self, .init(device: "0000:02:00.0", bar: 0, name: "second")),
        error(Broker1.Detach.self, .init(pool: "second")),
      ]
    }

    @Test func `the broker's own user, root too, is no admin at the clients' socket`() throws {
      let broker = try broker()
      let client = try broker.client()
      let held = try client.acquire(4096)
      #expect(try client.call(Broker1.Hello.self, .init()).admin == false)
      #expect(
        denials(client, of: held.lease.lease)
          == Array(repeating: .broker(.permissionDenied), count: 3))
      #expect(try client.call(Broker1.ListLeases.self, .init()).leases == [held.lease])
      #expect(try client.call(Broker1.ListPools.self, .init()).pools.map(\.name) == ["pool0"])
    }

    @Test func `at the admins' socket it is one`() throws {
      let broker = try broker()
      let lease = try broker.client().acquire(4096).lease
      let admin = try broker.admin()
      #expect(try admin.call(Broker1.Hello.self, .init()).admin)
      #expect(denials(admin, of: lease.lease) == [nil, nil, nil])
    }

    @Test func `an admin leases as any client does`() throws {
      let broker = try broker()
      let admin = try broker.admin()
      let held = try admin.acquire(4096)
      try admin.release(held.lease)
    }

    @Test(.enabled(if: isRoot, "only root can be another user"))
    func `root sees its own leases at the clients' socket, and all at the admins'`() throws {
      let broker = try broker()
      let (alice, bob) = try (TestProcess(broker, uid: 1001), TestProcess(broker, uid: 1002))
      let hers = try alice.connection().acquire(4096).lease
      let his = try bob.connection().acquire(4096).lease
      let root = try broker.client()
      let held = try root.acquire(4096)
      func seen(_ client: TestClient) throws -> Set<LeaseID> {
        Set(try client.call(Broker1.ListLeases.self, .init()).leases.map(\.lease))
      }
      #expect(try seen(alice.connection()) == [hers.lease])
      #expect(try seen(root) == [held.lease.lease])
      #expect(try seen(broker.admin()) == [hers.lease, his.lease, held.lease.lease])
      #expect(throws: ReplyError.broker(.permissionDenied)) { try root.release(hers) }
      #expect(throws: ReplyError.broker(.permissionDenied)) { try bob.connection().release(hers) }
    }

    @Test(.enabled(if: isRoot, "only root can be another user"))
    func `events of a lease are for its user, and for the admins' socket`() throws {
      let broker = try broker()
      let (alice, bob) = try (TestProcess(broker, uid: 1001), TestProcess(broker, uid: 1002))
      let hers = try alice.connection().acquire(4096).lease
      let his = try bob.connection().acquire(4096).lease
      let monitors = try [bob.connection(), broker.client(), broker.admin()]
      for monitor in monitors {
        try monitor.send(Call(Broker1.Monitor.self, .init(), more: true).frame())
        #expect(try next(monitor).event == .started)
      }
      let admin = try broker.admin()
      for lease in [hers, his] {
        _ = try admin.call(Broker1.ForceRelease.self, .init(lease: lease.lease))
      }
      _ = try admin.call(Broker1.Attach.self, .init(device: "0000:02:00.0", bar: 0, name: "end"))
      var heard: [[LeaseID?]] = []
      for monitor in monitors {
        var leases: [LeaseID?] = []
        while case let event = try next(monitor), event.pool != "end" { leases.append(event.lease) }
        heard.append(leases)
      }
      #expect(heard == [[his.lease], [], [hers.lease, his.lease]])
    }

    private func next(_ monitor: TestClient) throws -> Broker1.Event {
      try monitor.receive().result(of: Broker1.Monitor.self).event
    }

    @Test(.enabled(if: isRoot, "only root can be another user"))
    func `the admins' socket refuses other users, and members of the group are admins`() throws {
      let broker = try broker { $0.adminGroup = 1003 }
      let stranger = try TestProcess(broker, uid: 1001, asAdmin: true)
      #expect(throws: ReplyError.broker(.permissionDenied)) {
        try stranger.connection().receive().result(of: Broker1.Hello.self)
      }
      #expect(try stranger.connection().isClosed())
      let member = try TestProcess(broker, uid: 1003, asAdmin: true)
      #expect(try member.connection().call(Broker1.Hello.self, .init()).admin)
      let client = try TestProcess(broker, uid: 1003)
      #expect(try client.connection().call(Broker1.Hello.self, .init()).admin == false)
      #expect(throws: ReplyError.broker(.permissionDenied)) {
        try client.connection().call(Broker1.Detach.self, .init(pool: "pool0"))
      }
    }

    @Test(.enabled(if: isRoot, "only root can be another user"))
    func `a new admins' group holds for connections that are there`() throws {
      let reload = try EventCounterBox()
      let groups = Mutex<[UInt32]>([1003, 1004])
      let broker = try TestBroker(
        configure: { $0.adminGroup = 1003 },
        prepare: { broker in
          try broker.watch(reload.descriptor) { broker in
            reload.clear()
            let group = groups.withLock { $0.popLast() }
            broker.reconfigure { $0.adminGroup = group }
          }
        })
      // One that waits for its next call, one for events, and one for memory.
      let members = try (0..<3).map { _ in try TestProcess(broker, uid: 1003, asAdmin: true) }
      let sessions = try members.map { try $0.connection() }
      let outsider = try TestProcess(broker, uid: 1003)
      let plain = try outsider.connection()
      let root = try broker.admin()
      let held = try root.acquire(.mebibytes(1))
      for session in sessions { #expect(try session.call(Broker1.Hello.self, .init()).admin) }
      try sessions[1].send(Call(Broker1.Monitor.self, .init(), more: true).frame())
      #expect(try next(sessions[1]).event == .started)
      let acquire = Broker1.Acquire.Parameters(
        bytes: 4096, wait: Milliseconds(rawValue: 600_000))
      try sessions[2].send(Call(Broker1.Acquire.self, acquire).frame())
      reload.raise()
      for session in sessions {
        #expect(throws: ReplyError.broker(.permissionDenied)) {
          try session.receive().result(of: Broker1.Hello.self)
        }
        #expect(try session.isClosed())
      }
      #expect(try root.call(Broker1.Hello.self, .init()).admin)
      #expect(try !plain.call(Broker1.Hello.self, .init()).admin)
      try root.release(held.lease)
      reload.raise()
      try wait(for: "the reload") { reload.isClear }
      let member = try TestProcess(broker, uid: 1003, asAdmin: true)
      _ = try member.connection().call(Broker1.DrainPool.self, .init(pool: "pool0"))
    }

    @Test(.enabled(if: isRoot, "only root can be another user"))
    func `in the abstract namespace the broker alone tells admins from others`() throws {
      let name = "@genpool-\(UUID().uuidString)"
      let broker = try TestBroker(prepare: { broker in
        try broker.listen(on: ListeningSocket(path: name + ".admin", for: .admins))
      })
      #expect(try TestClient(path: name + ".admin").call(Broker1.Hello.self, .init()).admin)
      let stranger = try TestProcess(at: name + ".admin", uid: 1001)
      #expect(throws: ReplyError.broker(.permissionDenied)) {
        try stranger.connection().receive().result(of: Broker1.Hello.self)
      }
      withExtendedLifetime(broker) {}
    }

    @Test(.enabled(if: isRoot, "only root gives files to groups"))
    func `a new admins' group holds for the socket's file`() throws {
      let directory = FileManager.default.temporaryDirectory.path() + "genpool-\(UUID().uuidString)"
      defer { try? FileManager.default.removeItem(atPath: directory) }
      let path = directory + "/socket.admin"
      @Sendable func access() throws -> String {
        let file = try FileManager.default.attributesOfItem(atPath: path)
        let mode = try #require(file[.posixPermissions] as? Int)
        return "\(String(mode, radix: 8)) \(try #require(file[.groupOwnerAccountID] as? Int))"
      }
      let broker = try TestBroker(
        configure: { $0.adminGroup = 1003 },
        prepare: { broker in
          try broker.listen(on: ListeningSocket(path: path, for: .admins, group: 1003))
          #expect(try access() == "660 1003")
          broker.reconfigure { $0.adminGroup = 1004 }
          #expect(try access() == "660 1004")
          broker.reconfigure { $0.adminGroup = nil }
          #expect(try access() == "600 \(getegid())")
        })
      withExtendedLifetime(broker) {}
    }
  }
}
