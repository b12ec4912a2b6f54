import Glibc
import SystemPackage

/// An open file descriptor, closed exactly once: by `deinit`, unless ``release()`` gave it away.
public struct Descriptor: ~Copyable, Sendable {
  /// The number, valid as long as this value lives.
  public let rawValue: CInt

  /// Takes over the open descriptor `rawValue`, which the caller must not close any more.
  public init(owning rawValue: CInt) {
    precondition(rawValue >= 0, "a descriptor is not negative")
    self.rawValue = rawValue
  }

  deinit {
    // Not repeated on EINTR: Linux has closed the descriptor by then, and another thread may own
    // the number already.
    close(rawValue)
  }

  /// A second descriptor of the same open file, closed on exec.
  public func duplicate() throws(SystemError) -> Descriptor {
    // From 3 on, so that a process started without standard streams does not write its log to a
    // BAR.
    let copy = fcntl(rawValue, F_DUPFD_CLOEXEC, 3)
    guard copy >= 0 else {
      throw SystemError(
        operation: "duplicate", subject: "descriptor \(rawValue)", errno: Errno(rawValue: errno))
    }
    return Descriptor(owning: copy)
  }

  /// Makes the number one of the file at `path`, opened for reading and writing, and closes what it
  /// was of: for whoever cannot give the number up, but what is behind it.
  package func lead(to path: String) throws(SystemError) {
    let file = unsafe open(path, O_RDWR | O_CLOEXEC)
    guard file >= 0 else {
      throw SystemError(operation: "open", subject: path, errno: Errno(rawValue: errno))
    }
    let result = dup2(file, rawValue)
    let number = errno
    close(file)
    guard result >= 0 else {
      throw SystemError(
        operation: "replace", subject: "descriptor \(rawValue)", errno: Errno(rawValue: number))
    }
    // dup2 does not keep it, and dup3 is not to be had; what a program run meanwhile gets is
    // /dev/null.
    _ = fcntl(rawValue, F_SETFD, FD_CLOEXEC)
  }

  /// Gives the number away. Whoever takes it closes it.
  public consuming func release() -> CInt {
    let released = rawValue
    discard self
    return released
  }
}
