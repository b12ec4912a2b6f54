import LinuxSystem
import SystemPackage

/// Replies that a connection has not taken yet, each with its descriptor, in order.
struct OutputQueue {
  /// One reply.
  struct Message {
    let bytes: [UInt8]
    var descriptor: LentDescriptor?
  }

  /// The places of those that have gone are still in it, before ``first``, until they are half of
  /// it.
  private var messages: [Message] = []
  private var first = 0
  /// How many of the first message's bytes went.
  private var sent = 0

  /// The bytes that wait.
  private(set) var pendingByteCount = 0
  /// The descriptors that wait.
  private(set) var pendingDescriptorCount = 0
  /// All bytes that ever went: whether it has grown says whether the peer reads.
  private(set) var sentByteCount = 0

  var isEmpty: Bool { first == messages.count }

  mutating func append(_ message: Message) {
    messages.append(message)
    pendingByteCount += message.bytes.count
    if message.descriptor != nil { pendingDescriptorCount += 1 }
  }

  /// Sends what `socket` takes. Throws when nothing can be sent any more.
  mutating func flush(to socket: borrowing StreamSocket) throws(SystemError) {
    while first < messages.count {
      let count: Int
      do throws(Errno) {
        // The descriptor goes with the first byte.
        let descriptors = sent == 0 ? messages[first].descriptor.map { [$0.rawValue] } : nil
        count = try socket.send(messages[first].bytes[sent...], descriptors: descriptors ?? [])
      } catch .wouldBlock {
        return
      } catch {
        throw SystemError(operation: "send", subject: "a reply", errno: error)
      }
      sent += count
      sentByteCount += count
      pendingByteCount -= count
      if sent == messages[first].bytes.count { removeFirst() }
    }
  }

  /// O(1) in the long run, however many wait.
  private mutating func removeFirst() {
    sent = 0
    if messages[first].descriptor != nil { pendingDescriptorCount -= 1 }
    messages[first] = Message(bytes: [])
    first += 1
    guard first * 2 >= messages.count else { return }
    messages.removeFirst(first)
    first = 0
  }
}
