import DeviceMemory
import Glibc
import SystemPackage
import Testing

/// A pipe tells when the last descriptor of its writing end is closed, whatever its number.
struct DescriptorTests {
  @Test func `a descriptor is closed when its owner ends`() throws {
    let pipe = try Pipe()
    let writer = pipe.writer()
    #expect(!pipe.isClosed())
    end(writer)
    #expect(pipe.isClosed())
  }

  @Test func `a released descriptor stays open`() throws {
    let pipe = try Pipe()
    let number = pipe.writer().release()
    #expect(!pipe.isClosed())
    close(number)
    #expect(pipe.isClosed())
  }

  @Test func `a duplicate outlives the original, is closed on exec and no standard stream`() throws
  {
    let pipe = try Pipe()
    let writer = pipe.writer()
    let duplicate = try writer.duplicate()
    #expect(duplicate.rawValue > 2)
    #expect(duplicate.rawValue != writer.rawValue)
    #expect(fcntl(duplicate.rawValue, F_GETFD) & FD_CLOEXEC != 0)
    end(writer)
    #expect(!pipe.isClosed())
    end(duplicate)
    #expect(pipe.isClosed())
  }

  @Test func `a number that is not open cannot be duplicated`() {
    let closed = Descriptor(owning: CInt.max)
    #expect {
      _ = try closed.duplicate()
    } throws: { error in
      "\(error)" == "duplicate descriptor 2147483647: bad file descriptor"
    }
  }

  private func end(_ descriptor: consuming Descriptor) {}
}

/// A pipe whose writing end is given away once.
final class Pipe {
  private let reading: CInt
  private let writing: CInt

  init() throws {
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

  func writer() -> Descriptor { Descriptor(owning: writing) }

  /// Whether the writing end is closed: then reading ends, and before it would wait.
  func isClosed() -> Bool {
    var byte: UInt8 = 0
    return unsafe read(reading, &byte, 1) == 0
  }
}
