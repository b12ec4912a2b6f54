import BrokerLeases
import BrokerProtocol
import LinuxSystem
import Logging
import SystemPackage

/// One connection: bytes in, frames out, replies back in the order of their calls.
///
/// Invariant: what it keeps of a peer's bytes is bounded (``FrameDecoder``), and calls are taken
/// only while less than ``outputMark`` of replies wait, and no descriptor that was sent is still to
/// be received: each is one of the broker's. A session that waits for memory takes no further call,
/// so its replies stay in order.
final class Session {
  typealias ID = SessionID

  let id: ID
  /// What Hello calls it: random, as it will be what a client resumes by.
  let name: String
  let process: ClientProcess
  let user: UID
  /// The user on whose account it is served.
  let account: UID
  /// Whether it may do what admins may: it came by their socket. It is closed when its process may
  /// not connect there any more.
  let isAdmin: Bool
  /// The label of leases that it acquires without one: the name that Hello gave it.
  private(set) var label: String?

  private let socket: StreamSocket
  private var watch: EventLoop.Watch?

  private var decoder = FrameDecoder(limit: FrameDecoder.callLimit)
  private(set) var output = OutputQueue()

  /// Whether an Acquire from this session waits for memory.
  private(set) var isWaiting = false
  /// Whether events are sent to it. It makes no further call.
  private(set) var isMonitoring = false
  /// An answer of which replies are still to be made. It makes no further call meanwhile.
  private(set) var listing: Listing?
  /// Whether a descriptor was sent that may not have been received.
  private var hasSentDescriptor = false
  /// Whether calls wait until a descriptor has been received.
  private var isAwaitingReceipt = false
  /// The peer sends no more. It may still read.
  private(set) var inputHasEnded = false
  /// The peer closed with answers unread.
  private var wasReset = false
  /// The peer neither sends nor reads any more.
  private(set) var isHungUp = false
  /// Whether calls may have been received that were not taken yet.
  private(set) var hasUntakenCalls = false
  /// Whether it is in line for its next turn.
  private var isScheduled = false
  /// Whether the stall timer runs.
  private var isStallWatched = false

  /// No further call is taken while this much output waits.
  static let outputMark = 64 * 1024
  /// A monitor that leaves so much unread has missed something.
  static let monitorMark = 256 * 1024
  /// How much is received at once.
  static let receiveSize = 16 * 1024

  init(
    id: ID, name: String, socket: consuming StreamSocket, process: ClientProcess, user: UID,
    account: UID, isAdmin: Bool
  ) {
    self.id = id
    self.name = name
    self.socket = socket
    self.process = process
    self.user = user
    self.account = account
    self.isAdmin = isAdmin
  }

  private var descriptor: CInt { socket.rawValue }

  /// The groups of its process, as they were when it connected: the effective one, and the
  /// supplementary ones. Asked for when a pool is for groups, not kept: they may be 65,536. None
  /// when the kernel does not tell.
  var groups: [UInt32] {
    guard let credentials = try? PeerCredentials(of: socket) else { return [] }
    return [credentials.group] + PeerCredentials.supplementaryGroups(of: socket)
  }

  /// Its process as pools for some users and groups see it. Reads its groups at most once.
  var caller: Caller { Caller(user: user, isAdmin: isAdmin) { [self] in groups } }

  /// Whether another call may be taken now. Not while a reply with a descriptor waits.
  var takesCalls: Bool {
    !isWaiting && !isMonitoring && listing == nil && output.pendingByteCount < Self.outputMark
      && (output.pendingDescriptorCount == 0 && !isAwaitingReceipt || isHungUp)
  }

  /// Whether a descriptor that was sent is still to be received. Not when the peer has closed.
  var hasUnreceivedDescriptor: Bool { hasSentDescriptor && socket.unreceivedByteCount > 0 }

  /// Finds out whether a descriptor that was sent is still to be received. Until then no call is
  /// taken.
  func awaitReceipt() {
    guard hasSentDescriptor else { return }
    isAwaitingReceipt = hasUnreceivedDescriptor
    hasSentDescriptor = isAwaitingReceipt
  }

  /// Whether everything that will ever come has been answered.
  var isDone: Bool {
    inputHasEnded && !isWaiting && !isMonitoring && listing == nil && !hasUntakenCalls
      && output.isEmpty
  }

  /// What to wait for.
  var interest: EventLoop.Readiness {
    if isAwaitingReceipt, output.isEmpty { return .drained }
    return EventLoop.Readiness(
      readable: takesCalls && !inputHasEnded && !hasUntakenCalls,
      writable: !output.isEmpty && !output.isCongested)
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
    decoder.append(bytes)
    return true
  }

  /// The next whole frame that has come.
  func nextFrame() throws(MalformedMessage) -> [UInt8]? { try decoder.next() }

  /// Looks for a whole frame that has come. Until then there may be one.
  func findUntakenCalls() throws(MalformedMessage) { hasUntakenCalls = try decoder.hasFrame() }

  /// Frames may have come since the last look.
  func expectUntakenCalls() { hasUntakenCalls = true }

  /// Queues a reply, unless the peer has gone.
  func send(_ message: OutputQueue.Message) {
    if !isHungUp { output.append(message) }
  }

  /// The peer has gone: no reply is queued from now on.
  func hangUp() {
    isHungUp = true
    listing = nil
    output = OutputQueue()
  }

  /// Sends what the peer takes.
  func flush() throws(SystemError) {
    defer { if output.takeSentDescriptor() { hasSentDescriptor = true } }
    try output.flush(to: socket)
  }

  /// Answers the call that waits, or else the next one, with an error, before the connection is
  /// closed. Does not wait until the peer takes it.
  func dismiss(because failure: BrokerError) {
    guard !isHungUp, let reply = try? Reply.frame(error: failure) else { return }
    output.append(OutputQueue.Message(bytes: reply))
    try? flush()
    socket.takeFarewell()
  }

  // MARK: States

  /// Takes the name that Hello gives it for its leases' label. One that can be none stays in the
  /// log alone, as clients that came before labels may have such names.
  func setName(_ name: String?) {
    label = name.flatMap { Broker1.Lease.isLabel($0) ? $0 : nil }
  }

  /// An Acquire of it waits for memory: no further call is taken.
  func beginWait() { isWaiting = true }

  /// Its Acquire waits no longer.
  func endWait() { isWaiting = false }

  /// Events are sent to it from now on.
  func beginMonitoring() { isMonitoring = true }

  /// Answers its call in several replies from now on.
  func begin(_ listing: Listing) { self.listing = listing }

  /// The last of the replies was made.
  func endListing() { listing = nil }

  /// It gets in line. Returns false when it was.
  func beginTurn() -> Bool {
    defer { isScheduled = true }
    return !isScheduled
  }

  /// Its turn has come.
  func endTurn() { isScheduled = false }

  /// The stall timer starts. Returns false when it ran.
  func beginStallWatch() -> Bool {
    defer { isStallWatched = true }
    return !isStallWatched
  }

  /// The stall timer has ended.
  func endStallWatch() { isStallWatched = false }

  // MARK: Readiness

  /// Calls `handler` when the connection is ready for what it is interested in.
  func watch(
    on loop: EventLoop, handler: @escaping (EventLoop.Readiness) -> Void
  ) throws(SystemError) {
    watch = try loop.add(descriptor, interest, handler: handler)
  }

  /// Waits for what the connection is interested in by now.
  func updateWatch(on loop: EventLoop) {
    if let watch { loop.change(watch, to: interest) }
  }

  /// Waits for nothing any more.
  func endWatch(on loop: EventLoop) {
    if let watch { loop.remove(watch) }
    watch = nil
  }
}

extension Session {
  /// - Throws: PermissionDenied for a session that did not come by the admins' socket, root's too.
  func requireAdmin() throws(BrokerError) {
    guard isAdmin else { throw .permissionDenied }
  }

  /// Its identity in the log.
  var metadata: Logger.Metadata {
    ["session": "\(id.rawValue)", "uid": "\(user)", "pid": "\(process.pid)"]
  }

  /// The same, and a cause.
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
