import Broker
import BrokerProtocol
import DeviceMemory
import Foundation
import GenPool
import LinuxSystem
import Logging
import Synchronization
import SystemPackage
import Testing

/// All tests of the broker, one after the other: they count processes, descriptors and sockets.
@Suite(.serialized) struct BrokerTests {}

/// A broker on a thread, with sockets of its own in a directory of its own. Both are open to all
/// users: what it refuses it refuses itself.
final class TestBroker: Sendable {
  /// The clients' socket.
  let path: String
  /// The admins' socket.
  var adminPath: String { BrokerSocket(path: path).admin.path }
  let provider: MemoryProvider
  /// What it has logged.
  let log = RecordedLog()
  private let directory: String
  private let stopper: LeaseBroker.Stopper
  private let ended: DispatchSemaphore
  private let news: News

  /// A broker over `devices`; those in `attached` are pools from the start, `pool0`, `pool1`, ….
  /// `prepare` is called on its thread before it serves. Its devices have the memory of `last`, an earlier
  /// broker's provider.
  init(
    _ devices: [MemoryProvider.TestDevice] = [.init(address: "0000:01:00.0", size: .mebibytes(1))],
    attached: [Broker1.Attach.Parameters] = [
      .init(device: "0000:01:00.0", bar: 0, name: "pool0")
    ],
    configure: @escaping @Sendable (inout LeaseBroker.Configuration) -> Void = { _ in },
    prepare: @escaping @Sendable (LeaseBroker) throws -> Void = { _ in },
    memoriesOf last: MemoryProvider? = nil
  ) throws {
    try FaultGuard.enable()
    directory = FileManager.default.temporaryDirectory.path() + "genpool-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    // For processes of other users.
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: directory)
    let path = directory + "/socket"
    self.path = path
    let adminPath = BrokerSocket(path: path).admin.path
    let provider = try MemoryProvider(devices, memoriesOf: last)
    self.provider = provider

    let news = try News()
    self.news = news
    let started = DispatchSemaphore(value: 0)
    let ended = DispatchSemaphore(value: 0)
    self.ended = ended
    let result = Mutex<Result<LeaseBroker.Stopper, any Error>?>(nil)
    let log = log
    Thread.detachNewThread {
      do {
        var configuration = LeaseBroker.Configuration(version: "0.0.0-test")
        configure(&configuration)
        let logger = Logger(label: "test") { _ in RecordedLog.Handler(log: log) }
        let broker = try LeaseBroker(
          provider: provider, configuration: configuration, logger: logger)
        try broker.watchDevices(news.event.rawValue) { news.take() }
        for parameters in attached { _ = try broker.attach(parameters) }
        try prepare(broker)
        try broker.listen(on: ListeningSocket(path: path))
        let admins = try ListeningSocket(
          path: adminPath, for: .admins, group: configuration.adminGroup)
        try broker.listen(on: admins)
        _ = unsafe chmod(path, 0o666)
        _ = unsafe chmod(adminPath, 0o666)
        result.withLock { $0 = .success(broker.stopper) }
        started.signal()
        try broker.run()
      } catch {
        let isStarting = result.withLock { result in
          if result == nil { result = .failure(error) }
          if case .failure = result { return true }
          return false
        }
        if !isStarting { Issue.record("the broker ended: \(error)") }
        started.signal()
      }
      ended.signal()
    }
    guard started.wait(timeout: .now() + 30) == .success else {
      throw NotStarted(socket: path)
    }
    stopper = try #require(result.withLock { $0 }).get()
  }

  /// Stops it and waits for the end of its thread.
  func stop() {
    stopper.stop()
    #expect(ended.wait(timeout: .now() + 20) == .success, "the broker does not stop")
    ended.signal()
  }

  deinit {
    stopper.stop()
    _ = ended.wait(timeout: .now() + 20)
    try? FileManager.default.removeItem(atPath: directory)
  }

  func client() throws -> TestClient { try TestClient(path: path) }

  /// A client at the admins' socket.
  func admin() throws -> TestClient { try TestClient(path: adminPath) }

  /// Lets the broker hear of devices.
  func tell(_ news: DeviceNews) { self.news.add(news) }
}

/// A broker did not serve within 30 s. Its thread may hang still.
struct NotStarted: Error, CustomStringConvertible {
  let socket: String

  var description: String { "the broker at \(socket) did not start within 30 s" }
}

/// News that tests make up.
private final class News: Sendable {
  let event: EventCounter
  private let waiting = Mutex<[DeviceNews]>([])

  init() throws {
    event = try EventCounter()
  }

  func add(_ news: DeviceNews) {
    waiting.withLock { $0.append(news) }
    event.raise()
  }

  func take() -> [DeviceNews] {
    event.clear()
    return waiting.withLock { waiting in
      defer { waiting = [] }
      return waiting
    }
  }
}
