import Dispatch
import Glibc
import Testing

@testable import LinuxSystem

struct StreamSocketTests {
  @Test func `the event of a message that is received finds nothing unreceived`() throws {
    var ends: [CInt] = [-1, -1]
    let result = unsafe socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &ends)
    try #require(result == 0)
    let ours = StreamSocket(Descriptor(owning: ends[0]))
    let theirs = ends[1]
    defer { close(theirs) }
    let hasEnded = DispatchSemaphore(value: 0)
    DispatchQueue.global().async {
      var byte: UInt8 = 0
      while unsafe read(theirs, &byte, 1) == 1 {}
      hasEnded.signal()
    }
    defer { hasEnded.wait() }
    defer { shutdown(ours.rawValue, CInt(SHUT_RDWR)) }
    let epoll = try Epoll()
    try epoll.add(ours.rawValue, .drained, token: 1)
    var lost = 0
    for _ in 0..<60_000 {
      _ = try ours.send([7])
      while ours.unreceivedByteCount > 0 {
        // No event, and nothing left to wait for: it came before what it tells of.
        let events = try epoll.wait(milliseconds: 100)
        if events.isEmpty, ours.unreceivedByteCount == 0 { lost += 1 }
      }
    }
    #expect(lost == 0)
  }
}
