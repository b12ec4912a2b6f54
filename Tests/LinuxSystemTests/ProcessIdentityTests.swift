import Glibc
import Testing

@testable import LinuxSystem

struct ProcessIdentityTests {
  @Test func `a process has one identity, however often it connects, and another has another`()
    throws
  {
    func pair() throws -> [CInt] {
      var ends: [CInt] = [-1, -1]
      let result = unsafe socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &ends)
      try #require(result == 0)
      return ends
    }
    let ends = try pair() + pair()
    defer { for end in ends { close(end) } }
    func identity(_ end: CInt, _ pid: Int32) throws -> ProcessIdentity? {
      try ProcessDescriptor(peerOf: StreamSocket(Descriptor(owning: dup(end))), pid: pid)
        .identity(pid: pid)
    }
    let own = try #require(try identity(ends[0], getpid()))
    #expect(try identity(ends[2], getpid()) == own)
    if case .number(let pid, let start) = own { #expect(pid == getpid() && start != nil) }
  }

  @Test func `the start is found behind any name`() {
    let rest = (4...52).map(String.init).joined(separator: " ")
    for name in ["cat", "a) S 1 (", "", "\u{1b}[2J )"] {
      #expect(ProcessIdentity.start(in: "7 (\(name)) S \(rest)") == 22)
    }
    for text in ["", "7 (cat", "7 (cat) S 1 2", "7 (cat) S \(rest.replacing("22", with: "x"))"] {
      #expect(ProcessIdentity.start(in: text) == nil)
    }
    #expect(ProcessIdentity.start(of: getpid()) != nil)
  }
}
