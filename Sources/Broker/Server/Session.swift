import BrokerLeases
import BrokerProtocol
import LinuxSystem
import Logging
import SystemPackage

/// One connection: bytes in, frames out, replies back in the order of their calls.
///
/// Invariant: what it keeps of a peer's bytes is bounded (``FrameDecoder``), and calls are taken
/// only while less than ``outputMark`` of replies wait. A session that waits for memory is parked:
/// it takes no further call, so its replies stay in order.
final class Session {
  typealias ID = SessionID

  let id: ID
  /// What Hello calls it: random, as it will be what a client resumes by.
  let name: String
  let process: ClientProcess
  let user: UID
  let isAdmin: Bool

  private let socket: StreamSocket
  var watch: EventLoop.Watch?

  private var decoder = FrameDecoder(limit: FrameDecoder.callLimit)
  private(set) var output = OutputQueue()

  /// An Acquire of its is waiting for memory.
  var isParked = false
  /// It hears events, and makes no further call.
  var isMonitoring = false
  /// The peer sends no more. It may still read.
  private(set) var inputHasEnded = false
  /// The peer closed with answers unread.
  private var wasReset = false
  /// The peer neither sends nor reads any more.
  private(set) var isHungUp = false
  /// Calls may have been received that were not taken yet.
  var hasUntakenCalls = false
  /// It is in line for its next turn.
  var isScheduled = false
  /// The stall timer runs.
  var isStallWatched = false

  /// No further call is taken while this much output waits.
  static let outputMark = 256 * 1024
  /// How much is received at once.
  static let receiveSize = 16 * 1024

  init(
    id: ID, name: String, socket: consuming StreamSocket, process: ClientProcess, user: UID,
    isAdmin: Bool
  ) {
    self.id = id
    self.name = name
    self.socket = socket
    self.process = process
    self.user = user
    self.isAdmin = isAdmin
  }

  var descriptor: CInt { socket.rawValue }

  /// Whether another call may be taken now.
  var takesCalls: Bool {
    !isParked && !isMonitoring && output.pendingByteCount < Self.outputMark
  }

  /// Whether everything that will ever come has been answered.
  var isDone: Bool {
    inputHasEnded && !isParked && !isMonitoring && !hasUntakenCalls && output.isEmpty
  }

  /// What to wait for.
  var interest: EventLoop.Readiness {
    var interest: EventLoop.Readiness = []
    if takesCalls, !inputHasEnded, !hasUntakenCalls { interest.insert(.readable) }
    if !output.isEmpty { interest.insert(.writable) }
    return interest
  }

  /// Receives once. Returns whether anything came. Descriptors that come along are closed by the
  /// kernel: no method takes any.
  func receive() throws(SystemError) -> Bool {
    let bytes: [UInt8]
    do throws(Errno) {
      bytes = try socket.receiveBytes(capacity: Self.receiveSize)
    } catch .wouldBlock {
      return false
    } catch {
      // It closed without reading all. That is said once; what it sent before is still to be read.
      if error == .connectionReset, !wasReset {
        wasReset = true
        return try receive()
      }
      throw SystemError(operation: "receive", subject: "a call", errno: error)
    }
    guard !bytes.isEmpty else {
      inputHasEnded = true
      return false
    }
    decoder.append(bytes[...])
    return true
  }

  /// The next whole frame that has come.
  func nextFrame() throws(MalformedMessage) -> [UInt8]? { try decoder.next() }

  /// Whether there is one.
  func hasFrame() throws(MalformedMessage) -> Bool { try decoder.hasFrame() }

  /// Queues a reply, if there is anybody to read it.
  func send(_ message: OutputQueue.Message) {
    if !isHungUp { output.append(message) }
  }

  /// Nobody reads from now on.
  func hangUp() {
    isHungUp = true
    output = OutputQueue()
  }

  /// Sends what the peer takes.
  func flush() throws(SystemError) { try output.flush(to: socket) }
}

extension Session {
  /// What the log says of it.
  var metadata: Logger.Metadata {
    ["session": "\(id.rawValue)", "uid": "\(user)", "pid": "\(process.pid)"]
  }

  /// The same, and why.
  func metadata(cause: String) -> Logger.Metadata {
    metadata.merging(["cause": "\(printable(cause))"]) { _, new in new }
  }
}

/// `text` without what could forge a line of the log or steer a terminal, and not too long: peers
/// choose names and keys. Lines are joined by semicolons.
func printable(_ text: String) -> String {
  let limit = 400
  let line = text.split(separator: "\n").map { $0.drop { $0 == " " } }.joined(separator: "; ")
  let scalars = line.unicodeScalars
  let plain = scalars.prefix(limit).map { (" "..."~").contains($0) ? Character($0) : "?" }
  return String(plain) + (scalars.count > limit ? "..." : "")
}
