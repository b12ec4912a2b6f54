import CLinux
import Glibc
package import SystemPackage

/// One end of a connected Unix stream socket: bytes, and descriptors with them. Closes it.
package struct StreamSocket: ~Copyable, Sendable {
  /// The most descriptors that one message carries.
  package static let mostDescriptors = Int(GL_DESCRIPTORS_MAX)

  private let descriptor: Descriptor

  /// Takes over a connected socket.
  package init(_ descriptor: consuming Descriptor) {
    self.descriptor = descriptor
  }

  /// Connects to the socket at `path`; a leading `@` is the abstract namespace. Blocking.
  package init(connectingTo path: String) throws(Errno) {
    descriptor = try Descriptor(result: unsafe gl_connect(path))
  }

  /// The socket's number, for poll(2) and exec(3).
  package var rawValue: CInt { descriptor.rawValue }

  /// Makes receives on a blocking socket fail with EAGAIN when nothing has come for so long: more
  /// than zero, counted in microseconds and rounded up. `SO_RCVTIMEO`.
  package func limitReceiving(to limit: Duration) throws(Errno) {
    let (seconds, attoseconds) = limit.components
    // More than the kernel's clock counts is without end there too.
    let microseconds =
      min(seconds, 1 << 32) * 1_000_000 + attoseconds / 1_000_000_000_000 + 1
    _ = try gl_limit_receiving(rawValue, microseconds).orErrno()
  }

  /// The bytes that were sent and that the other end has not received, with what the kernel needs
  /// to keep them; 0 when it has received all. `SIOCOUTQ`, unix(7).
  package var unreceivedByteCount: Int { Int(gl_unreceived(rawValue)) }

  /// Sends bytes as far as the socket takes them, and the descriptors with the first of them. Never
  /// raises SIGPIPE.
  /// - Parameter waits: whether a blocking socket waits for room. Else it throws EAGAIN, as one
  ///   that does not block.
  /// - Returns: the number of bytes that were sent; if any was, so were all descriptors.
  package func send(
    _ bytes: ArraySlice<UInt8>, descriptors: [CInt] = [], waits: Bool = true
  ) throws(Errno) -> Int {
    let sent = unsafe bytes.withUnsafeBytes { bytes in
      unsafe descriptors.withUnsafeBufferPointer { numbers in
        unsafe gl_send(
          rawValue, bytes.baseAddress, bytes.count, numbers.baseAddress, CInt(numbers.count),
          waits)
      }
    }
    return try sent.orErrno()
  }

  /// Receives at most `capacity` bytes, and the descriptors that came with them.
  /// - Returns: no bytes when the other end has closed.
  /// - Throws: EMSGSIZE when more than ``mostDescriptors`` came: they are closed, and the bytes
  ///   lost. EINTR when a signal came while it waited.
  package func receive(capacity: Int) throws(Errno) -> (bytes: [UInt8], descriptors: [CInt]) {
    var numbers = [CInt](repeating: -1, count: Self.mostDescriptors)
    var count = CInt(numbers.count)
    let bytes = try unsafe received(capacity: capacity) { room in
      unsafe numbers.withUnsafeMutableBufferPointer { numbers in
        unsafe gl_receive(rawValue, room.baseAddress, room.count, numbers.baseAddress, &count)
      }
    }
    return (bytes, Array(numbers.prefix(Int(count))))
  }
}
