import BrokerProtocol
import CLinux
import DeviceMemory
import Glibc
import SystemPackage

/// One end of a Unix stream socket: frames out, frames and descriptors in, none of it later than a
/// deadline.
///
/// The socket is non-blocking and waited for with poll(2), so that a broker that has stopped cannot
/// stop its clients.
struct Wire: ~Copyable {
  private let socket: Descriptor
  private var decoder = FrameDecoder(limit: FrameDecoder.replyLimit)

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

  /// Takes over a connected stream socket.
  init(_ socket: consuming Descriptor) throws(Failure) {
    guard fcntl(socket.rawValue, F_SETFL, O_NONBLOCK) == 0 else {
      throw .system(Errno(rawValue: errno))
    }
    self.socket = socket
  }

  /// The socket's number, for poll(2) and exec(3).
  var descriptor: CInt { socket.rawValue }

  /// Sends all of `bytes`.
  func send(_ bytes: [UInt8], before deadline: ContinuousClock.Instant) throws(Failure) {
    var sent = 0
    while sent < bytes.count {
      let result = unsafe bytes.withUnsafeBytes { buffer in
        let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[sent...])
        return unsafe gl_send(socket.rawValue, rest.baseAddress, rest.count, nil, 0)
      }
      switch -CInt(clamping: result) {
      case EAGAIN: try wait(for: POLLOUT, before: deadline)
      case EPIPE, ECONNRESET: throw .closed
      case 1...: throw .system(Errno(rawValue: -CInt(clamping: result)))
      default: sent += result
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
    var bytes = [UInt8](repeating: 0, count: 16 * 1024)
    var numbers = [CInt](repeating: -1, count: Int(GL_DESCRIPTORS_MAX))
    var count = CInt(numbers.count)
    let result = unsafe bytes.withUnsafeMutableBytes { room in
      unsafe numbers.withUnsafeMutableBufferPointer { numbers in
        unsafe gl_receive(
          socket.rawValue, room.baseAddress, room.count, numbers.baseAddress, &count)
      }
    }
    switch -CInt(clamping: result) {
    case EAGAIN: try wait(for: POLLIN, before: deadline)
    case 0, ECONNRESET: throw .closed
    case EMSGSIZE: throw .malformed(cause: "more than \(numbers.count) descriptors came with it")
    case 1...: throw .system(Errno(rawValue: -CInt(clamping: result)))
    default:
      descriptors.append(numbers.prefix(Int(count)))
      decoder.append(bytes.prefix(result))
    }
  }

  private func wait(
    for event: CInt, before deadline: ContinuousClock.Instant
  ) throws(Failure) {
    while true {
      let left = ContinuousClock.now.duration(to: deadline)
      guard left > .zero else { throw .late }
      var entry = pollfd(fd: socket.rawValue, events: Int16(event), revents: 0)
      let ready = unsafe poll(&entry, 1, left.roundedUpToMilliseconds)
      // A closed socket is ready too: the next send or receive says so.
      if ready > 0 { return }
      if ready < 0, errno != EINTR { throw .system(Errno(rawValue: errno)) }
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
