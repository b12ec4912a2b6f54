import BrokerProtocol
import DeviceMemory
import Foundation
import Glibc
import LinuxFixtures
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
    let listener = Listener(try SocketListener(path: path, mode: 0o600))
    let thread = Thread { [self] in
      do {
        try waitForBytes(listener.socket.rawValue)
        guard let accepted = try listener.socket.accept() else {
          throw Errno.resourceTemporarilyUnavailable
        }
        try script(FakeSession(StreamSocket(accepted), log: { self.log($0) }))
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

/// The socket of a broker's thread.
private final class Listener: Sendable {
  let socket: SocketListener

  init(_ socket: consuming SocketListener) { self.socket = socket }
}

/// One client of a ``FakeBroker``.
final class FakeSession {
  private let socket: StreamSocket
  private let log: (String) -> Void
  private var decoder = FrameDecoder(limit: FrameDecoder.callLimit)
  /// Set when the client has closed its end.
  private(set) var isClosed = false

  init(_ socket: consuming StreamSocket, log: @escaping (String) -> Void) {
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
      try waitForBytes(socket.rawValue)
      guard let bytes = try? socket.receiveBytes(capacity: 4096), !bytes.isEmpty else {
        return nil
      }
      decoder.append(bytes[...])
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
    let sent = try socket.send(bytes[...], descriptors: descriptors)
    guard sent == bytes.count else { throw Errno.ioError }
  }

  /// Takes whatever the client still says, until it closes.
  func drain() throws {
    while try nextCall() != nil {}
  }
}

/// Waits ten seconds for something to read.
private func waitForBytes(_ descriptor: CInt) throws {
  var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
  guard unsafe poll(&entry, 1, 10_000) == 1 else { throw Errno(rawValue: ETIMEDOUT) }
}

/// Memory with a descriptor, like an emulated BAR.
final class FakeMemory: Sendable {
  let descriptor: CInt

  init(size: UInt64) throws {
    descriptor = try Descriptor(memory: "fake", size: size).release()
  }

  deinit { close(descriptor) }

  /// The `count` bytes at `offset`, read past every mapping.
  func bytes(at offset: Int, count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let result = unsafe pread(descriptor, &bytes, count, off_t(offset))
    return Array(bytes.prefix(max(0, result)))
  }
}
