import CLinux
package import SystemPackage

/// A Unix datagram socket without a name, to send from.
package struct DatagramSender: ~Copyable, Sendable {
  private let descriptor: Descriptor

  /// Creates the socket.
  package init() throws(Errno) {
    descriptor = try Descriptor(result: gl_datagram_create())
  }

  /// Sends one datagram to the socket at `path`; a leading `@` is the abstract namespace.
  package func send(_ bytes: [UInt8], to path: String) throws(Errno) {
    let result = unsafe bytes.withUnsafeBytes {
      unsafe gl_send_datagram(descriptor.rawValue, path, $0.baseAddress, $0.count)
    }
    _ = try result.orErrno()
  }
}
