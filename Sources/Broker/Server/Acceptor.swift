import DeviceMemory
import Glibc
import LinuxSystem
import Logging
import SystemPackage

/// Accepts connections from the listening socket, and pauses while the process has no descriptors
/// left.
final class Acceptor {
  /// The number of connections that are accepted before those that there are get their turn.
  private static let batch = 8

  private var socket: ListeningSocket
  private let loop: EventLoop
  private let logger: Logger
  private let handler: (consuming StreamSocket) -> Void
  private var watch: EventLoop.Watch?
  private var isPaused = false
  /// Whether a timer will end the pause.
  private var isResumeTimed = false

  /// Calls `handler` for each connection, once the loop runs.
  init(
    _ socket: consuming ListeningSocket, on loop: EventLoop, _ logger: Logger,
    handler: @escaping (consuming StreamSocket) -> Void
  ) throws(SystemError) {
    self.socket = socket
    self.loop = loop
    self.logger = logger
    self.handler = handler
    watch = try loop.add(self.socket.descriptor, .readable) { [unowned self] _ in accept() }
  }

  private func accept() {
    for _ in 0..<Self.batch {
      do throws(Errno) {
        guard let connection = try socket.accept() else { return }
        handler(StreamSocket(connection))
      } catch {
        // No descriptors or memory left. The connection stays in the queue and the socket stays
        // readable, so without a pause the loop would spin.
        return pause(because: error)
      }
    }
  }

  /// Lets connections wait in the kernel's queue until one of ours ends, a second at most.
  func pause(because errno: Errno) {
    guard let watch else { return }
    logger.warning("not accepting for now", metadata: ["reason": "\(errno)"])
    loop.change(watch, to: [])
    isPaused = true
    guard !isResumeTimed else { return }
    isResumeTimed = true
    loop.after(.seconds(1)) { [weak self] in
      self?.isResumeTimed = false
      self?.resume()
    }
  }

  /// Lets another group connect to the socket, if it is the admins' and the broker's own.
  func admit(_ group: UInt32?) {
    do throws(SystemError) {
      try socket.admit(group)
    } catch {
      logger.error("socket's group", metadata: ["cause": "\(error)"])
    }
  }

  /// Accepts again after a pause.
  func resume() {
    guard isPaused, let watch else { return }
    isPaused = false
    loop.change(watch, to: .readable)
  }
}
