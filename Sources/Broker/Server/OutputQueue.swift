import LinuxSystem
import SystemPackage

/// Replies that a connection has not taken yet, each with its descriptor, in order.
struct OutputQueue {
  /// One reply.
  struct Message {
    let bytes: [UInt8]
    var descriptor: LentDescriptor?
  }

  private var messages = Queue<Message>()
  /// How many of the first message's bytes went.
  private var sent = 0

  /// The bytes that wait.
  private(set) var pendingByteCount = 0
  /// The descriptors that wait.
  private(set) var pendingDescriptorCount = 0
  /// Whether the last message could not go because too many descriptors are on their way, of any
  /// connection: they have to be received first.
  private(set) var isCongested = false
  /// Whether a descriptor went since ``takeSentDescriptor()``.
  private var hasSentDescriptor = false
  /// All bytes that ever went: whether it has grown says whether the peer reads.
  private(set) var sentByteCount = 0

  var isEmpty: Bool { messages.isEmpty }

  /// Whether a descriptor went since this was asked.
  mutating func takeSentDescriptor() -> Bool {
    defer { hasSentDescriptor = false }
    return hasSentDescriptor
  }

  mutating func append(_ message: Message) {
    messages.append(message)
    pendingByteCount += message.bytes.count
    if message.descriptor != nil { pendingDescriptorCount += 1 }
  }

  /// Sends what `socket` takes. Throws when nothing can be sent any more.
  mutating func flush(to socket: borrowing StreamSocket) throws(SystemError) {
    while let message = messages.first {
      let count: Int
      isCongested = false
      do throws(Errno) {
        // The descriptor goes with the first byte.
        let descriptors = sent == 0 ? message.descriptor.map { [$0.rawValue] } : nil
        count = try socket.send(message.bytes[sent...], descriptors: descriptors ?? [])
      } catch .wouldBlock {
        return
      } catch .tooManyReferences {
        isCongested = true
        return
      } catch {
        throw SystemError(operation: "send", subject: "a reply", errno: error)
      }
      if sent == 0, message.descriptor != nil { hasSentDescriptor = true }
      sent += count
      sentByteCount += count
      pendingByteCount -= count
      if sent == message.bytes.count { removeFirst() }
    }
  }

  private mutating func removeFirst() {
    sent = 0
    if messages.popFirst()?.descriptor != nil { pendingDescriptorCount -= 1 }
  }
}
