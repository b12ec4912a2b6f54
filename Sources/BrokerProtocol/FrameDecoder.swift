/// Cuts a stream of bytes into varlink's frames: one JSON text and one NUL byte each.
///
/// A value without a socket, so that any bytes can be thrown at it. Invariant: at most `limit`
/// bytes of an unfinished frame are kept, whatever the peer sends, and no byte is looked at twice.
public struct FrameDecoder: Sendable {
  /// The most bytes that a frame may have, its NUL not counted.
  public let limit: Int

  /// Bytes that were appended and not yet taken, from `taken` on.
  private var bytes: [UInt8] = []
  /// How many of `bytes` were returned as frames.
  private var taken = 0
  /// Up to where `bytes` were searched for a NUL: there is none from `taken` up to here.
  private var searched = 0

  /// What a broker accepts of a call: all of them are far below.
  public static let callLimit = 64 * 1024
  /// What a client accepts of a reply: 65,536 leases listed are below.
  public static let replyLimit = 64 * 1024 * 1024

  /// A decoder of frames up to `limit` bytes.
  public init(limit: Int) {
    precondition(limit > 0, "a frame limit is above 0")
    self.limit = limit
  }

  /// The bytes that wait: whole frames not yet taken, and the beginning of one.
  public var pendingByteCount: Int { bytes.count - taken }

  /// Adds what was received. O(n) in what is added; O(1) when all that came before was taken.
  public mutating func append(_ received: [UInt8]) {
    guard pendingByteCount == 0 else { return append(received[...]) }
    (bytes, taken, searched) = (received, 0, 0)
  }

  /// Adds what was received. O(n) in what is added.
  public mutating func append(_ received: some Collection<UInt8>) {
    if taken > 0 {
      bytes.removeFirst(taken)
      searched -= taken
      taken = 0
    }
    bytes.append(contentsOf: received)
  }

  /// The next whole frame without its NUL, or nil when more bytes are needed. O(n) in its length.
  ///
  /// Throws ``MalformedMessage`` for a frame above the limit, finished or not: nothing after it can
  /// be trusted, so the connection is to be closed.
  public mutating func next() throws(MalformedMessage) -> [UInt8]? {
    guard try hasFrame() else { return nil }
    let frame = Array(bytes[taken..<searched])
    taken = searched + 1
    searched = taken
    // Nothing is kept of a connection that is silent.
    if pendingByteCount == 0 { (bytes, taken, searched) = ([], 0, 0) }
    return frame
  }

  /// Whether ``next()`` has a frame. Throws as it does. O(n) in the frame's length.
  public mutating func hasFrame() throws(MalformedMessage) -> Bool {
    searched = bytes[searched...].firstIndex(of: 0) ?? bytes.count
    guard searched - taken <= limit else { throw .tooLong(limit: limit) }
    return searched < bytes.count
  }
}

/// Bytes that are no varlink message. There is no way to answer them: the connection is closed.
public enum MalformedMessage: Error, Equatable, CustomStringConvertible {
  /// A frame longer than the receiver accepts.
  case tooLong(limit: Int)
  /// Not JSON, or not the object that an envelope is.
  case notAnEnvelope(cause: String)

  public var description: String {
    switch self {
    case .tooLong(let limit): "read a varlink message: longer than \(limit) bytes"
    case .notAnEnvelope(let cause): "read a varlink message: \(cause)"
    }
  }
}
