import BrokerProtocol
import Glibc
import LinuxSystem
import SystemPackage

/// One end of a Unix stream socket: frames out, frames and descriptors in, none of it later than a
/// deadline.
///
/// Receiving waits for as long as it is let, and sending not at all but in poll(2), so that a
/// broker that has stopped cannot stop its clients.
struct Wire: ~Copyable {
  private let socket: StreamSocket
  private var decoder = FrameDecoder(limit: FrameDecoder.replyLimit)
  /// The time for which receiving waits, as the socket was told.
  private var patience = Duration.zero

  /// Why bytes did not go or come.
  enum Failure: Error {
    /// The other end has closed.
    case closed
    /// The deadline passed.
    case late
    /// The other end sent what is no message.
    case malformed(cause: String)
    /// The system said no.
    case system(Errno)
  }

  /// Takes over a connected, blocking stream socket.
  init(_ socket: consuming StreamSocket) {
    self.socket = socket
  }

  /// The socket's number, for poll(2) and exec(3).
  var descriptor: CInt { socket.rawValue }

  /// Sends all of `bytes`.
  func send(_ bytes: [UInt8], before deadline: ContinuousClock.Instant) throws(Failure) {
    var sent = 0
    while sent < bytes.count {
      do throws(Errno) {
        sent += try socket.send(bytes[sent...], waits: false)
      } catch .wouldBlock {
        try wait(for: POLLOUT, before: deadline)
      } catch .brokenPipe, .connectionReset {
        throw .closed
      } catch {
        throw .system(error)
      }
    }
  }

  /// The next frame, without its NUL. The descriptors that come with it are added to `descriptors`.
  mutating func receive(
    into descriptors: inout ReceivedDescriptors, before deadline: ContinuousClock.Instant
  ) throws(Failure) -> [UInt8] {
    while true {
      do {
        if let frame = try decoder.next() { return frame }
      } catch {
        throw .malformed(cause: error.description)
      }
      try receiveSome(into: &descriptors, before: deadline)
    }
  }

  /// Whether bytes have come that nobody asked for. Every answer has been taken when a call starts.
  var hasUnaskedBytes: Bool { decoder.pendingByteCount > 0 }

  private mutating func receiveSome(
    into descriptors: inout ReceivedDescriptors, before deadline: ContinuousClock.Instant
  ) throws(Failure) {
    try limitReceiving(before: deadline)
    do throws(Errno) {
      let received = try socket.receive(capacity: 16 * 1024)
      guard !received.bytes.isEmpty else { throw .connectionReset }
      descriptors.append(received.descriptors)
      decoder.append(received.bytes)
    } catch .wouldBlock, .interrupted {
      // The caller tries again, for as long as there is time.
    } catch .connectionReset {
      throw .closed
    } catch .messageTooLong {
      throw .malformed(
        cause: "more than \(StreamSocket.mostDescriptors) descriptors came with it")
    } catch {
      throw .system(error)
    }
  }

  /// Lets the next receiving wait for what is left until `deadline`, or a part of that: the next
  /// call has a little less left, and the socket is not to be told each time.
  private mutating func limitReceiving(
    before deadline: ContinuousClock.Instant
  ) throws(Failure) {
    let left = ContinuousClock.now.duration(to: deadline)
    guard left > .zero else { return try wait(for: POLLIN, before: deadline) }
    guard patience > left || patience < left / 4 else { return }
    patience = max(left / 2, min(left, .milliseconds(1)))
    do throws(Errno) {
      try socket.limitReceiving(to: patience)
    } catch {
      throw .system(error)
    }
  }

  private func wait(
    for event: CInt, before deadline: ContinuousClock.Instant
  ) throws(Failure) {
    while true {
      let left = ContinuousClock.now.duration(to: deadline)
      var entry = pollfd(fd: socket.rawValue, events: Int16(event), revents: 0)
      let ready = unsafe poll(&entry, 1, left > .zero ? left.roundedUpToMilliseconds : 0)
      // A closed socket is ready too: the next send or receive says so.
      if ready > 0 { return }
      if ready < 0, errno != EINTR { throw .system(Errno(rawValue: errno)) }
      // Bytes that have come are taken however late it is.
      guard left > .zero else { throw .late }
    }
  }
}

extension Duration {
  /// In whole milliseconds, as poll(2) counts, and never a little too few.
  fileprivate var roundedUpToMilliseconds: CInt {
    let (seconds, attoseconds) = components
    guard seconds < 1_000_000 else { return .max }
    return CInt(seconds * 1000 + attoseconds / 1_000_000_000_000_000 + 1)
  }
}
