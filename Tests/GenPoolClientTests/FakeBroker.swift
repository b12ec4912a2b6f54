import BrokerProtocol
import CLinux
import DeviceMemory
import Foundation
import Glibc
import LinuxSystem
import Synchronization
import SystemPackage

@testable import GenPoolClient

/// The other end of a connection, in a thread of its own: it answers as its script says, truthfully
/// or not.
final class FakeBroker: Sendable {
  /// Where clients find it: a socket of the abstract namespace, which leaves no file behind.
  let socket: BrokerSocket
  private let state = Mutex(State())
  private let ended = DispatchSemaphore(value: 0)

  private struct State {
    var calls: [String] = []
    var failure: (any Error)?
  }

  /// Waits for one client and does with it what `script` says.
  init(_ script: @escaping @Sendable (FakeSession) throws -> Void) throws {
    let path = "@genpool-fake-\(getpid())-\(UInt64.random(in: 0 ... .max))"
    socket = BrokerSocket(path: path)
    let listening = unsafe gl_listen(path, 0o600, gid_t.max)
    guard listening >= 0 else { throw Errno(rawValue: -listening) }
    let thread = Thread { [self] in
      let listener = Descriptor(owning: listening)
      do {
        try waitForBytes(listener)
        let accepted = gl_accept(listener.rawValue)
        guard accepted >= 0 else { throw Errno(rawValue: -accepted) }
        try script(FakeSession(Descriptor(owning: accepted), log: { self.log($0) }))
      } catch {
        state.withLock { $0.failure = error }
      }
      ended.signal()
    }
    thread.start()
  }

  /// A client of it.
  func connect(timeout: Duration = .seconds(10)) throws -> Connection {
    try Connection(to: socket, timeout: timeout)
  }

  /// The names of the methods that were called, once the script has ended.
  func calls() throws -> [String] {
    ended.wait()
    ended.signal()
    return try state.withLock { state in
      if let failure = state.failure { throw failure }
      return state.calls
    }
  }

  private func log(_ method: String) {
    state.withLock { $0.calls.append(method) }
  }
}

/// One client of a ``FakeBroker``.
final class FakeSession {
  private let socket: Descriptor
  private let log: (String) -> Void
  private var decoder = FrameDecoder(limit: FrameDecoder.callLimit)
  /// Set when the client has closed its end.
  private(set) var isClosed = false

  init(_ socket: consuming Descriptor, log: @escaping (String) -> Void) {
    self.socket = socket
    self.log = log
  }

  /// The next call, nil when the client has closed.
  func nextCall() throws -> ReceivedCall? {
    while true {
      if let frame = try decoder.next() {
        let call = try ReceivedCall(frame: frame)
        log(call.method.replacing(Broker1.interface + ".", with: "") + (call.oneway ? "!" : ""))
        return call
      }
      try waitForBytes(socket)
      var bytes = [UInt8](repeating: 0, count: 4096)
      let count = unsafe bytes.withUnsafeMutableBytes {
        unsafe gl_receive(socket.rawValue, $0.baseAddress, $0.count, nil, nil)
      }
      guard count > 0 else { return nil }
      decoder.append(bytes.prefix(count))
    }
  }

  /// Takes a call and answers it.
  func answer(_ reply: some Encodable, descriptors: [CInt] = []) throws {
    _ = try nextCall()
    try send(Reply.frame(reply), descriptors: descriptors)
  }

  /// Takes a call and fails it.
  func answer(error: BrokerError) throws {
    _ = try nextCall()
    try send(Reply.frame(error: error))
  }

  /// Takes a call and sends these bytes, NUL included or not.
  func answer(bytes: String, descriptors: [CInt] = []) throws {
    _ = try nextCall()
    try send(Array(bytes.utf8), descriptors: descriptors)
  }

  func send(_ bytes: [UInt8], descriptors: [CInt] = []) throws {
    let sent = unsafe gl_send(
      socket.rawValue, bytes, bytes.count, descriptors, CInt(descriptors.count))
    guard sent == bytes.count else { throw Errno(rawValue: EIO) }
  }

  /// Takes whatever the client still says, until it closes.
  func drain() throws {
    while try nextCall() != nil {}
  }
}

/// Waits ten seconds for something to read.
private func waitForBytes(_ descriptor: borrowing Descriptor) throws {
  var entry = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
  guard unsafe poll(&entry, 1, 10_000) == 1 else { throw Errno(rawValue: ETIMEDOUT) }
}

/// Memory with a descriptor, like an emulated BAR.
final class FakeMemory: Sendable {
  let descriptor: CInt

  init(size: UInt64) throws {
    descriptor = unsafe gl_memfd("fake", size)
    guard descriptor >= 0 else { throw Errno(rawValue: -descriptor) }
  }

  deinit { close(descriptor) }

  /// The `count` bytes at `offset`, read past every mapping.
  func bytes(at offset: Int, count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let result = unsafe pread(descriptor, &bytes, count, off_t(offset))
    return Array(bytes.prefix(max(0, result)))
  }
}
