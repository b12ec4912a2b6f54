import Glibc
import LinuxFixtures
import LinuxSystem
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
