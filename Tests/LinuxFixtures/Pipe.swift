import Glibc
package import LinuxSystem
import SystemPackage

/// A pipe whose writing end is given away once.
package final class Pipe {
  private let reading: CInt
  private let writing: CInt

  package init() throws {
    var ends: [CInt] = [-1, -1]
    guard unsafe pipe(&ends) == 0, fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0 else {
      throw Errno(rawValue: errno)
    }
    reading = ends[0]
    writing = ends[1]
  }

  deinit {
    close(reading)
  }

  package func writer() -> Descriptor { Descriptor(owning: writing) }

  /// Whether the writing end is closed: then reading ends, and before it would wait.
  package func isClosed() -> Bool {
    var byte: UInt8 = 0
    return unsafe read(reading, &byte, 1) == 0
  }
}
