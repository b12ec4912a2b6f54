import CLinux
package import SystemPackage

extension StreamSocket {
  /// Receives at most `capacity` bytes. The kernel closes descriptors that came with them.
  /// - Returns: no bytes when the other end has closed.
  /// - Throws: EAGAIN when none has come to a non-blocking socket; ECONNRESET once when the other
  ///   end closed with bytes unread.
  package func receiveBytes(capacity: Int) throws(Errno) -> [UInt8] {
    try unsafe received(capacity: capacity) { room in
      unsafe gl_receive(rawValue, room.baseAddress, room.count, nil, nil)
    }
  }

  /// The bytes that `receive` writes into a buffer, which is not zeroed before.
  /// - Parameter receive: their number, or an error's negative one.
  func received(
    capacity: Int, _ receive: (UnsafeMutableBufferPointer<UInt8>) -> Int
  ) throws(Errno) -> [UInt8] {
    var result = 0
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: capacity) { room, count in
      unsafe result = receive(room)
      // SAFETY: so many bytes were written.
      count = max(result, 0)
    }
    _ = try result.orErrno()
    return bytes
  }

  /// Makes the kernel name the process that sends what is received from now on. `SO_PASSCRED`.
  package func requestSenders() throws(Errno) {
    _ = try gl_want_senders(rawValue).orErrno()
  }

  /// The process that sends the next bytes, which are dropped. Not always the one that listened,
  /// which ``PeerCredentials`` has: a service manager listens for its services.
  /// - Returns: nil when the other end has closed, or the process is in a pid namespace that this
  ///   process cannot see.
  /// - Throws: EAGAIN when no bytes come within `milliseconds`.
  package func nextSender(milliseconds: CInt) throws(Errno) -> Int32? {
    var bytes = [UInt8](repeating: 0, count: 4096)
    var pid: Int32 = 0
    let result = unsafe bytes.withUnsafeMutableBytes { room in
      unsafe gl_receive_naming_sender(rawValue, room.baseAddress, room.count, milliseconds, &pid)
    }
    return try result.orErrno() > 0 && pid > 0 ? pid : nil
  }
}
