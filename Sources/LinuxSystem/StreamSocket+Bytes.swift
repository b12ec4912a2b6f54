import CLinux
package import SystemPackage

extension StreamSocket {
  /// Receives at most `capacity` bytes. The kernel closes descriptors that came with them.
  /// - Returns: no bytes when the other end has closed.
  /// - Throws: EAGAIN when none has come to a non-blocking socket; ECONNRESET once when the other
  ///   end closed with bytes unread.
  package func receiveBytes(capacity: Int) throws(Errno) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: capacity)
    let result = unsafe bytes.withUnsafeMutableBytes { room in
      unsafe gl_receive(rawValue, room.baseAddress, room.count, nil, nil)
    }
    bytes.removeLast(capacity - (try result.orErrno()))
    return bytes
  }
}
