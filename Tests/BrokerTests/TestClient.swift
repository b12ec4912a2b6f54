import BrokerProtocol
import CLinux
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

  let socket: Descriptor
  private var decoder = FrameDecoder(limit: FrameDecoder.replyLimit)
  private var descriptors: [CInt] = []
  private static let patience: CInt = 10_000

  init(path: String) throws {
    let connected = unsafe gl_connect(path)
    guard connected >= 0 else { throw Errno(rawValue: -connected) }
    socket = Descriptor(owning: connected)
  }

  /// The near end of a process that is connected.
  init(owning control: CInt) {
    socket = Descriptor(owning: control)
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
      let count = unsafe Array(rest).withUnsafeBytes { bytes in
        unsafe gl_send(
          socket.rawValue, bytes.baseAddress, bytes.count, descriptors, CInt(descriptors.count))
      }
      guard count > 0 else { throw Errno(rawValue: CInt(-count)) }
      rest = rest.dropFirst(count)
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
    var bytes = [UInt8](repeating: 0, count: 65_536)
    var numbers = [CInt](repeating: -1, count: Int(GL_DESCRIPTORS_MAX))
    var count = CInt(numbers.count)
    let received = unsafe bytes.withUnsafeMutableBytes { room in
      unsafe gl_receive(socket.rawValue, room.baseAddress, room.count, &numbers, &count)
    }
    guard received > 0 else { throw Closed() }
    descriptors += numbers.prefix(Int(count))
    decoder.append(bytes[..<received])
  }
}

/// A client in a process of its own, which can be killed and can be another user's.
final class TestProcess {
  let pid: PID
  private(set) var client: TestClient?
  private var isDead = false

  init(_ broker: TestBroker, uid: Int32 = -1, forks: Bool = false) throws {
    var control: CInt = -1
    let process = unsafe ct_start(broker.path, uid, forks, &control)
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
