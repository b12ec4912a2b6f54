import BrokerProtocol
import CTestProcess
import DeviceMemory
import Foundation
import GenPool
import LinuxSystem
import SystemPackage
import Testing

/// A connection that sends what a test wants, right or wrong, and waits at most ten seconds.
// SAFETY: only receiving changes anything in here, and no test receives on two threads.
final class TestClient: @unchecked Sendable {
  /// A lease and its descriptor.
  struct Held: ~Copyable {
    let lease: Broker1.Lease
    let descriptor: Descriptor

    /// Maps the lease as any client does.
    func map() throws -> Region {
      try Region(
        mapping: DeviceRange(
          descriptor: descriptor.duplicate(), mapOffset: lease.mapOffset, size: lease.size,
          physical: lease.physical, bus: lease.bus, caching: .cached, isolation: .range,
          label: "lease"))
    }
  }

  struct Silence: Error {}
  struct Closed: Error {}

  let socket: StreamSocket
  private var decoder = FrameDecoder(limit: FrameDecoder.replyLimit)
  private var descriptors: [CInt] = []
  private static let patience: CInt = 10_000

  init(path: String) throws {
    socket = try StreamSocket(connectingTo: path)
  }

  /// The near end of a process that is connected.
  init(owning control: CInt) {
    socket = StreamSocket(Descriptor(owning: control))
  }

  deinit {
    for descriptor in descriptors { close(descriptor) }
  }

  // MARK: Calls

  func call<Method: VarlinkMethod>(
    _ method: Method.Type, _ parameters: Method.Parameters
  ) throws -> Method.Reply {
    try send(Call(method, parameters).frame())
    return try receive().result(of: method)
  }

  /// The replies to one call that takes several.
  func list<Method: VarlinkMethod>(
    _ method: Method.Type, _ parameters: Method.Parameters
  ) throws -> [Method.Reply] {
    try send(Call(method, parameters, more: true).frame())
    var replies: [Method.Reply] = []
    while true {
      let reply = try receive()
      replies.append(try reply.result(of: method))
      guard reply.continues else { return replies }
    }
  }

  func leases() throws -> [Broker1.Lease] {
    try list(Broker1.ListLeases.self, .init()).flatMap(\.leases)
  }

  /// Acquires, and takes the descriptor.
  @discardableResult
  func acquire(_ parameters: Broker1.Acquire.Parameters) throws -> Held {
    try send(Call(Broker1.Acquire.self, parameters).frame())
    return try receiveLease()
  }

  @discardableResult
  func acquire(
    _ bytes: ByteCount, pool: String? = nil, key: String? = nil
  ) throws -> Held {
    try acquire(.init(pool: pool, bytes: bytes, requestKey: key))
  }

  @discardableResult
  func receiveLease() throws -> Held {
    let reply = try receive().result(of: Broker1.Acquire.self)
    #expect(reply.descriptor == 0)
    try #require(descriptors.count == 1)
    return Held(lease: reply.lease, descriptor: Descriptor(owning: descriptors.removeFirst()))
  }

  func release(_ lease: Broker1.Lease) throws {
    _ = try call(Broker1.Release.self, .init(lease: lease.lease, generation: lease.generation))
  }

  func pool(_ name: String = "pool0") throws -> Broker1.Pool {
    let pools = try call(Broker1.ListPools.self, .init()).pools
    return try #require(pools.first { $0.name == name })
  }

  /// Waits until nothing is being scrubbed.
  func waitUntilClean(_ name: String = "pool0") throws -> Broker1.Pool {
    try wait(for: "\(name) to be clean") {
      let pool = try pool(name)
      return pool.dirty == .zero ? pool : nil
    }
  }

  // MARK: Bytes

  func send(_ text: String) throws { try send(Array(text.utf8) + [0]) }

  func send(_ bytes: [UInt8], descriptors: [CInt] = []) throws {
    var rest = bytes[...]
    var descriptors = descriptors
    while !rest.isEmpty {
      rest = rest.dropFirst(try socket.send(rest, descriptors: descriptors))
      descriptors = []
    }
  }

  func receive() throws -> ReceivedReply {
    while true {
      if let frame = try decoder.next() { return try ReceivedReply(frame: frame) }
      try receiveBytes()
    }
  }

  /// Whether the broker closes this connection, whatever it says before.
  func isClosed() throws -> Bool {
    do {
      while true { try receiveBytes() }
    } catch is Closed {
      return true
    } catch is Silence {
      return false
    }
  }

  private func receiveBytes() throws {
    var end = pollfd(fd: socket.rawValue, events: Int16(POLLIN), revents: 0)
    guard unsafe poll(&end, 1, Self.patience) == 1 else { throw Silence() }
    guard let received = try? socket.receive(capacity: 65_536), !received.bytes.isEmpty else {
      throw Closed()
    }
    descriptors += received.descriptors
    decoder.append(received.bytes[...])
  }
}

/// A client in a process of its own, which can be killed and can be another user's.
final class TestProcess {
  let pid: PID
  private(set) var client: TestClient?
  private var isDead = false

  convenience init(
    _ broker: TestBroker, uid: Int32 = -1, group: Int32 = -1, forks: Bool = false,
    asAdmin: Bool = false
  ) throws {
    try self.init(
      at: asAdmin ? broker.adminPath : broker.path, uid: uid, group: group, forks: forks)
  }

  /// - Parameter group: the one supplementary group of another user; -1 for none.
  init(at path: String, uid: Int32 = -1, group: Int32 = -1, forks: Bool = false) throws {
    var control: CInt = -1
    let process = unsafe ct_start(path, uid, group, forks, &control)
    guard process > 0 else { throw Errno(rawValue: -process) }
    pid = PID(rawValue: process)
    client = TestClient(owning: control)
  }

  deinit { kill() }

  /// As if it had crashed.
  func kill() {
    guard !isDead else { return }
    isDead = true
    ct_kill(pid.rawValue)
  }

  /// It closes its connection and lives on.
  func hangUp() { client = nil }

  func connection() throws -> TestClient { try #require(client) }
}

/// Asks again and again for at most ten seconds.
func wait<Value>(for what: String, until body: () throws -> Value?) throws -> Value {
  for _ in 0..<2000 {
    if let value = try body() { return value }
    usleep(5000)
  }
  Issue.record("waited in vain for \(what)")
  throw TestClient.Silence()
}

/// The same, for a condition.
func wait(for what: String, until condition: () throws -> Bool) throws {
  _ = try wait(for: what) { try condition() ? true : nil } as Bool
}
