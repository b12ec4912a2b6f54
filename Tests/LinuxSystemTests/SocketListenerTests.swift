import Foundation
import LinuxSystem
import SystemPackage
import Testing

/// Sockets that listen.
@Suite struct SocketListenerTests {
  private let directory =
    FileManager.default.temporaryDirectory.path() + "genpool-\(UUID().uuidString)"

  init() throws {
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
  }

  @Test(arguments: ["/socket", "@"])
  func `it knows the path that it is bound to`(name: String) throws {
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let path = name == "@" ? "@genpool-\(UUID().uuidString)" : directory + name
    #expect(try SocketListener(path: path, mode: 0o600).path == path)
  }

  @Test func `a socket is served as long as a process listens, full or not`() throws {
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let path = directory + "/socket"
    #expect(throws: Errno.noSuchFileOrDirectory) { try SocketListener.isServed(path) }
    do {
      let listener = try SocketListener(path: path, mode: 0o600)
      // The queue takes one more than listen(2) says.
      for _ in 0..<70 { #expect(try SocketListener.isServed(path)) }
      withExtendedLifetime(listener.rawValue) {}
    }
    #expect(try SocketListener.isServed(path) == false)
  }
}
